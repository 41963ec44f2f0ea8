#include "ddpm/io/safetensors.hpp"

#include "../support.hpp"

using namespace test;

namespace {

io::Bytes safetensors(const std::string& header, std::size_t buffer) {
  io::Bytes bytes(8 + header.size() + buffer);
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  std::copy(header.begin(), header.end(), bytes.begin() + 8);
  return bytes;
}

std::string header_error(const std::string& header, std::size_t buffer = 8) {
  return error_of<IoError>([&] { io::Safetensors(safetensors(header, buffer), "f"); });
}

}  // namespace

TEST_CASE_TEMPLATE("safetensors: what is written comes back", T, float, double) {
  const TemporaryFolder folder;
  const auto path = folder.path / "w.safetensors";
  const auto a = random_tensor<T>({3, 4}, 1), b = random_tensor<T>({2, 1, 5, 2}, 2);
  io::write_safetensors<T>(path, {{"a \"quoted\" name", a}, {"b", b}}, {{"key", "value"}});
  const auto file = io::Safetensors::read(path);
  CHECK(file.metadata().at("key") == "value");
  CHECK(file.names() == std::vector<std::string>{"a \"quoted\" name", "b"});
  CHECK(same_bits(file.tensor<T>("a \"quoted\" name"), a));
  CHECK(same_bits(file.tensor<T>("b"), b));
  CHECK_THROWS_AS(file.tensor<T>("c"), IoError);
  std::uint64_t length = 0;
  std::memcpy(&length, io::read_file(path).data(), 8);
  CHECK(length % 8 == 0);
}

TEST_CASE("safetensors: every malformed header is refused by name") {
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  CHECK_NOTHROW(io::Safetensors(safetensors(good, 8), "f"));
  CHECK(contains(header_error(good, 9), "1 bytes behind the last tensor"));
  CHECK(contains(header_error(good, 7), "0 to 8 of 7 bytes"));
  const auto one = [](const std::string& fields) { return "{\"a\":{" + fields + "}}"; };
  CHECK(contains(header_error(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,8])")),
                 "its shape wants 4"));
  CHECK(contains(header_error(one(R"("dtype":"I64","shape":[1],"data_offsets":[0,8])")), "I64"));
  CHECK(contains(header_error(one(R"("dtype":"F32","shape":[2])")), "no pair"));
  CHECK(contains(header_error(one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])")),
                 "negative"));
  CHECK(contains(header_error(one(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])")), "2.0"));
  CHECK(contains(header_error(one(R"("dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8])")),
                 "second time"));
  CHECK(
      contains(header_error(one(R"("dtype":"F32","shape":[[2]],"data_offsets":[0,8])")), "a list"));
  CHECK(contains(
      header_error(
          one(R"("dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8])")),
      "larger than the file"));
  CHECK(contains(
      header_error(one(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4])")),
      "8 extents"));
  const auto two = [](const std::string& offsets) {
    return R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],)" +
           ("\"data_offsets\":" + offsets) + "}}";
  };
  CHECK_NOTHROW(io::Safetensors(safetensors(two("[8,16]"), 16), "f"));
  CHECK(contains(header_error(two("[4,12]"), 16), "overlap"));
  CHECK(contains(header_error(two("[0,8]"), 16), "overlap"));
  CHECK(contains(header_error(two("[12,20]"), 20), "leave a gap"));
  CHECK(contains(header_error(two("[16,8]"), 16), "16 to 8"));
  CHECK(contains(header_error(R"({"a":{},"a":{}})"), "second time"));
  CHECK(contains(header_error(one(R"("dtype":"F32","data_offsets":[0,4])")), "no shape"));
  CHECK(contains(
      header_error(one(R"("dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0])"),
                   0),
      "larger than the file"));
  CHECK(contains(header_error("{\"a\":"), "damaged JSON"));
  CHECK(contains(header_error("[1]"), "no JSON object"));
  CHECK(contains(header_error(R"({"__metadata__":{"k":1}})"), "the number 1"));
  CHECK(contains(error_of<IoError>([] { io::Safetensors({1, 2}, "f"); }), "2 bytes"));
  io::Bytes huge(16, 0xff);
  CHECK(contains(error_of<IoError>([&] { io::Safetensors(huge, "f"); }), "header of"));
}

TEST_CASE("safetensors [CK-8]: a flipped bit anywhere gives an error or the same file") {
  const TemporaryFolder folder;
  const auto path = folder.path / "w";
  const auto a = random_tensor<float>({3}, 1), b = random_tensor<float>({20, 20}, 2);
  io::write_safetensors<float>(path, {{"a", a}, {"b", b}}, {{"key", "a value"}});
  const auto bytes = io::read_file(path);
  const auto metadata = io::Safetensors(bytes, "f").metadata();
  Rng rng(1);
  int refused = 0;
  for (std::size_t i = 0; i < 4000; ++i) {
    auto damaged = bytes;  // the whole header bit by bit, then places at random
    const std::size_t bit =
        i < 2400 ? i : static_cast<std::size_t>(rng.below(8 * std::ssize(bytes)));
    damaged[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
    try {
      const io::Safetensors file(damaged, "f");
      CAPTURE(bit);
      CHECK(file.metadata() == metadata);
      CHECK(same_bits(file.tensor<float>("a"), a));
      CHECK(same_bits(file.tensor<float>("b"), b));
    } catch (const IoError&) {
      ++refused;
    }
  }
  CHECK(refused == 4000);
}

TEST_CASE("safetensors: files without a checksum load") {
  const io::Safetensors file(
      safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8), "f");
  CHECK(file.tensor<float>("a").size() == 2);
}

TEST_CASE("safetensors: half precision becomes the tensor's type") {
  const auto read = [](const char* dtype, const std::vector<std::uint16_t>& values) {
    const std::string count = std::to_string(values.size());
    const std::string end = std::to_string(2 * values.size());
    io::Bytes bytes = safetensors(std::string(R"({"a":{"dtype":")") + dtype + R"(","shape":[)" +
                                      count + R"(],"data_offsets":[0,)" + end + "]}}",
                                  2 * values.size());
    std::memcpy(bytes.data() + bytes.size() - 2 * values.size(), values.data(), 2 * values.size());
    return io::Safetensors(bytes, "f").tensor<double>("a");
  };
  // IEEE 754 binary16: 1, -2, the largest, the smallest, the smallest normal, -0, a third.
  const auto half = read("F16", {0x3C00, 0xC000, 0x7BFF, 0x0001, 0x0400, 0x8000, 0x3555, 0x7C00});
  const double expected[] = {1,       -2, 65504,          0x1p-24,
                             0x1p-14, 0,  0.333251953125, std::numeric_limits<double>::infinity()};
  for (Index i = 0; i < 8; ++i) CHECK(half[i] == expected[i]);
  CHECK(std::signbit(half[5]));
  CHECK(std::isnan(read("F16", {0x7E00})[0]));
  const auto brain = read("BF16", {0x3F80, 0xC000, 0x4049, 0x7F80});
  CHECK(brain[0] == 1);
  CHECK(brain[1] == -2);
  CHECK(brain[2] == 3.140625);
  CHECK(std::isinf(brain[3]));
}

TEST_CASE("safetensors: no header makes the reader take much memory or time") {
  std::string many = "{";
  for (int i = 0; i < 100'001; ++i)
    many += message('"', i, R"(":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},)");
  many.back() = '}';
  CHECK(contains(header_error(many, 0), "more than 100000 tensors"));
  std::string metadata = R"({"__metadata__":{)";
  for (int i = 0; i < 17; ++i)
    metadata += message('"', i, R"(":")", std::string(1 << 20, 'x'), R"(",)");
  metadata.back() = '}';
  CHECK(contains(header_error(metadata + "}", 0), "more than 16 MiB of metadata"));
  const std::string text(5 << 20, 'x');
  CHECK(header_error(message("{\"", text, "\":1}")).size() < 200);
  CHECK(header_error(message("{\"", text, "\":{\"", text, "\":\"", text, "\"}}")).size() < 300);
  CHECK(header_error(R"({"a":{"dtype":")" + text + R"(","shape":[0],"data_offsets":[0,0]}})", 0)
            .size() < 200);
}

TEST_CASE("safetensors: what the reference reader takes is taken") {
  const std::string entry = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  const auto reads = [](const std::string& header) {
    const io::Safetensors file(safetensors(header, 8), "f");
    return file.names() == std::vector<std::string>{"a"} && file.shape("a") == Shape{2};
  };
  CHECK(reads(R"({"__metadata__":null,"a":{)" + entry + "}}"));
  for (const char* more : {"1", "-1", "0.5", "true", "null", R"("text")", "[]", "{}", "[1,[2,{}]]",
                           R"({"dtype":"F64","x":{"shape":[3]}})"}) {
    CAPTURE(more);
    CHECK(reads(std::string(R"({"a":{"more":)") + more + "," + entry + "}}"));
    CHECK(reads(std::string(R"({"a":{)") + entry + R"(,"more":)" + more + "}}"));
  }
  CHECK(contains(header_error(R"({"a":null})"), "null"));
  CHECK_THROWS_AS(reads(R"({"a":{)" + entry + R"(,"more":)" + std::string(100, '[') +
                        std::string(100, ']') + "}}"),
                  IoError);
}

TEST_CASE("safetensors: names and texts come back, whatever characters they hold") {
  const TemporaryFolder folder;
  const auto path = folder.path / "w";
  std::string control = "tab\tnewline\nquote\"backslash\\ ";
  for (char c = 1; c < 32; ++c) control += c;
  const Tensor<float> one({1}, 1.0F);
  for (const std::string& text : {control, std::string("\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82"),
                                  std::string("\x7f"), std::string(1, '\0'), std::string()}) {
    io::write_safetensors<float>(path, {{text, one}}, {{text, text}});
    const auto file = io::Safetensors::read(path);
    CHECK(file.metadata().at(text) == text);
    CHECK(file.names() == std::vector<std::string>{text});
  }
  // A checksum of another file is not carried on.
  io::write_safetensors<float>(path, {{"a", one}}, {{"crc32", "00000001"}});
  CHECK_NOTHROW(io::Safetensors::read(path));
  for (const char* bad : {"\xff", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                          "\xf0\x8f\xbf\xbf", "\xe2\x82", "\x80"})
    CHECK_THROWS_AS(io::write_safetensors<float>(path, {{bad, one}}), PreconditionError);
}

TEST_CASE("safetensors: what nobody could read is not written, and leaves the old file") {
  const TemporaryFolder folder;
  const auto path = folder.path / "x.safetensors";
  const Tensor<float> one({1}, 1.0F);
  io::write_safetensors<float>(path, {{"a", one}}, {{"kept", "yes"}});
  const auto error = [&](const std::vector<io::NamedTensor<float>>& tensors,
                         const io::Metadata& metadata = {}) {
    return error_of<PreconditionError>(
        [&] { io::write_safetensors<float>(path, tensors, metadata); });
  };
  CHECK(contains(error({{"b", one}, {"b", one}}), "two tensors have the name 'b'"));
  CHECK(contains(error({{"__metadata__", one}}), "'__metadata__'"));
  CHECK(contains(error({{"scalar", Tensor<float>()}}), "tensor 'scalar' is ()"));
  CHECK(contains(error({{"\xff\xfe", one}}), "no UTF-8"));
  CHECK(contains(error({{"b", one}}, {{"key", "\xc3("}}), "no UTF-8"));
  CHECK(contains(error({{"b", one}}, {{"\x80", "value"}}), "no UTF-8"));
  const auto file = io::Safetensors::read(path);
  CHECK(file.metadata().at("kept") == "yes");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path),
                      std::filesystem::directory_iterator()) == 1);
}
