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
  CHECK(contains(header_error(one(R"("dtype":"F16","shape":[4],"data_offsets":[0,8])")), "F16"));
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
  CHECK(contains(header_error("{\"a\":"), "damaged JSON"));
  CHECK(contains(header_error("[1]"), "no JSON object"));
  CHECK(contains(header_error(R"({"__metadata__":{"k":1}})"), "the number 1"));
  CHECK(contains(error_of<IoError>([] { io::Safetensors({1, 2}, "f"); }), "2 bytes"));
  io::Bytes huge(16, 0xff);
  CHECK(contains(error_of<IoError>([&] { io::Safetensors(huge, "f"); }), "header of"));
}

TEST_CASE("safetensors: any flipped byte of a header gives an error or a value") {
  const TemporaryFolder folder;
  const auto path = folder.path / "w";
  io::write_safetensors<float>(
      path, {{"a", random_tensor<float>({3}, 1)}, {"b", random_tensor<float>({2, 2}, 2)}});
  const auto bytes = io::read_file(path);
  Rng rng(1);
  for (int round = 0; round < 1000; ++round) {
    auto damaged = bytes;
    damaged[std::size_t(rng.below(Index(bytes.size()) - 28))] ^=
        static_cast<std::uint8_t>(1U << rng.below(8));
    try {
      const io::Safetensors file(damaged, "f");
      for (const auto& name : file.names()) CHECK(file.tensor<float>(name).size() <= 7);
    } catch (const IoError&) {
    }
  }
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
