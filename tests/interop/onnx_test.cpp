// The files themselves are read by ONNX Runtime in tests/programs/opens_elsewhere.py; here the
// encoding, and that the graphs are whole.
#include "ddpm/interop/onnx.hpp"

#include <map>
#include <set>

#include "../support.hpp"

using namespace test;
using namespace ddpm::interop;

namespace {

/// The fields of a message: whole numbers, and texts.
struct Fields {
  std::multimap<int, std::uint64_t> numbers;
  std::multimap<int, std::string> texts;

  explicit Fields(const std::string& bytes) {
    std::size_t at = 0;
    const auto varint = [&] {
      std::uint64_t value = 0;
      for (int shift = 0;; shift += 7) {
        const auto byte = static_cast<unsigned char>(bytes.at(at++));
        value |= std::uint64_t{byte & 0x7FU} << shift;
        if (byte < 0x80) return value;
      }
    };
    while (at < bytes.size()) {
      const std::uint64_t tag = varint();
      const int field = static_cast<int>(tag >> 3);
      if ((tag & 7) == 0) {
        numbers.emplace(field, varint());
      } else if ((tag & 7) == 5) {
        at += 4;
      } else {
        REQUIRE((tag & 7) == 2);
        const std::size_t size = varint();
        texts.emplace(field, bytes.substr(at, size));
        at += size;
      }
    }
    REQUIRE(at == bytes.size());
  }

  std::vector<std::string> all(int field) const {
    std::vector<std::string> result;
    for (auto [it, end] = texts.equal_range(field); it != end; ++it) result.push_back(it->second);
    return result;
  }
  std::string one(int field) const { return texts.find(field)->second; }
};

template <class Network>
Fields graph_of(const typename Network::Config& config) {
  const TemporaryFolder folder;
  const auto path = folder.path / "network.onnx";
  save_onnx(path, Network(config, Rng(1)));
  const auto bytes = io::read_file(path);
  const Fields model(std::string(bytes.begin(), bytes.end()));
  CHECK(model.numbers.find(1)->second == 8);
  const Fields opset(model.one(8));
  CHECK(opset.numbers.find(2)->second == 17);
  return Fields(model.one(7));
}

/// Every value that an operator reads was there before, every name stands once, every constant has
/// as many values as its shape.
void check_graph(const Fields& graph, Index parameters, std::size_t inputs) {
  std::set<std::string> known;
  const auto add = [&](const std::string& name) {
    CAPTURE(name);
    CHECK(known.insert(name).second);
  };
  CHECK(graph.all(11).size() == inputs);
  for (const std::string& input : graph.all(11)) add(Fields(input).one(1));
  Index floats = 0;
  for (const std::string& bytes : graph.all(5)) {
    const Fields tensor(bytes);
    add(tensor.one(8));
    std::size_t size = tensor.numbers.find(2)->second == 1 ? 4 : 8;
    if (size == 4) floats += std::ssize(tensor.one(9)) / 4;
    for (auto [it, end] = tensor.numbers.equal_range(1); it != end; ++it) size *= it->second;
    CHECK(tensor.one(9).size() == size);
  }
  CHECK(floats > parameters);  // some more for scales and norms
  CHECK(floats < parameters + 1000);
  for (const std::string& bytes : graph.all(1)) {
    const Fields node(bytes);
    CAPTURE(node.one(4));
    for (const std::string& input : node.all(1)) CHECK((input.empty() || known.contains(input)));
    for (const std::string& output : node.all(2)) add(output);
  }
  REQUIRE(graph.all(12).size() == 1);
  CHECK(known.contains(Fields(graph.all(12)[0]).one(1)));
}

}  // namespace

TEST_CASE("onnx: numbers, floats, texts and messages are encoded as protocol buffers") {
  using onnx::Message;
  const auto hex = [](const Message& m) {
    std::string text;
    for (const char c : m.bytes()) {
      char digits[4];
      std::snprintf(digits, sizeof digits, "%02x ", static_cast<unsigned char>(c));
      text += digits;
    }
    return text;
  };
  CHECK(hex(Message().number(1, 150)) == "08 96 01 ");  // the example of the specification
  CHECK(hex(Message().number(1, -1)) == "08 ff ff ff ff ff ff ff ff ff 01 ");
  CHECK(hex(Message().text(2, "testing")) == "12 07 74 65 73 74 69 6e 67 ");
  CHECK(hex(Message().message(3, Message().number(1, 150))) == "1a 03 08 96 01 ");
  CHECK(hex(Message().number(20, 7)) == "a0 01 07 ");
  CHECK(hex(Message().real(2, 1.0F)) == "15 00 00 80 3f ");
}

TEST_CASE("onnx: graphs of random networks are whole") {
  Rng rng(5);
  for (int round = 0; round < 20; ++round) {
    UNetConfig config{.image = {.channels = 1 + rng.below(3),
                                .height = 8 + rng.below(9),
                                .width = 8 + rng.below(9),
                                .classes = rng.below(3),
                                .learn_variance = rng.below(2) == 1},
                      .channels = 4 + 4 * rng.below(2),
                      .multipliers = {1},
                      .blocks = 1 + rng.below(2),
                      .attention_levels = {0},
                      .heads = 1 + rng.below(2),
                      .groups = 2};
    for (Index level = rng.below(3); level > 0; --level) config.multipliers.push_back(2);
    const UNet<float> net(config, Rng(1));
    const auto count = nn::parameter_count<float>(net);
    check_graph(graph_of<UNet<float>>(config), count, config.image.classes > 0 ? 3 : 2);
    TutorialUNetConfig other{.image = config.image,
                             .levels = {8, 16},
                             .attention_levels = {rng.below(2)},
                             .heads = config.heads,
                             .groups = 4};
    const TutorialUNet<float> tutorial(other, Rng(1));
    check_graph(graph_of<TutorialUNet<float>>(other), nn::parameter_count<float>(tutorial),
                other.image.classes > 0 ? 3 : 2);
  }
  CHECK_THROWS_AS(graph_of<UNet<float>>({.image = {.height = 7, .width = 8}}), PreconditionError);
}
