#include "ddpm/data/dataset.hpp"

#include "../support.hpp"
#include "ddpm/data/image_set.hpp"

using namespace test;

namespace {

/// Two images of 2 x 1 pixels and their labels.
data::ImageSet<float> two_images() { return {{2, 2, 1, 1}, {0, 255, 51, 204}, {7, 3}}; }

}  // namespace

TEST_CASE_TEMPLATE("image set: every byte becomes x / 127.5 - 1, in T", T, float, double) {
  std::vector<std::uint8_t> bytes(256);
  for (std::size_t i = 0; i < 256; ++i) bytes[i] = static_cast<std::uint8_t>(i);
  const data::ImageSet<T> set({1, 16, 16, 1}, bytes);
  const Tensor<T> values = set.tensor(), one({16, 16, 1});
  set.read(0, one);
  for (Index i = 0; i < 256; ++i) {
    CHECK(values[i] == T(i) / T(127.5) - T(1));
    CHECK(one[i] == values[i]);
  }
}

TEST_CASE("image set: sizes that disagree are named") {
  using Set = data::ImageSet<float>;
  CHECK(contains(error_of<PreconditionError>([] {
                   Set({2, 2, 2, 1}, {1, 2, 3});
                 }),
                 "3 bytes for images (2, 2, 2, 1)"));
  CHECK(contains(error_of<PreconditionError>([] {
                   Set({1, 1, 1, 1}, {1}, {1, 2});
                 }),
                 "2 labels for 1 images"));
  CHECK(contains(error_of<PreconditionError>([] { two_images().with_labels({1}); }),
                 "1 labels for 2 images"));
  CHECK_FALSE(two_images().with_labels({}).has_labels());
}

TEST_CASE("dataset: a part of one, with its labels") {
  const auto all = two_images();
  const data::Subset part(all, 1, 1);
  CHECK(part.size() == 1);
  CHECK(part.label(0) == 3);
  const auto read = data::read_images<float>(part, 0, 1);
  CHECK(read.images.shape() == Shape{1, 2, 1, 1});
  CHECK(read.images[1] == 204 / 127.5F - 1);
  CHECK(read.labels == std::vector<Index>{3});
  CHECK_THROWS_AS(data::Subset(all, 1, 2), PreconditionError);
  CHECK_THROWS_AS(data::Subset(all, -1, 1), PreconditionError);
}

TEST_CASE("image set: transposed, and back") {
  const data::ImageSet<float> set({1, 2, 3, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, {4});
  const auto turned = set.transposed();
  CHECK(turned.shape() == Shape{1, 3, 2, 2});
  CHECK(turned.label(0) == 4);
  CHECK(turned.tensor()[2] == data::from_byte<float>(7));  // row 0, column 1 was row 1, column 0
  CHECK(same_bits(turned.transposed().tensor(), set.tensor()));
}
