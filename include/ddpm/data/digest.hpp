// What tells one data set from another, for runs that go on later.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/data/dataset.hpp"
#include "ddpm/io/crc32.hpp"

namespace ddpm::DDPM_ABI::data {

/// Number, shape and contents of a data set.
struct Digest {
  Index images = 0;
  Index height = 0, width = 0, channels = 0;
  bool labels = false;
  /// CRC-32 of up to 64 images, spread evenly, as tensors of their type, then of all labels.
  std::uint64_t contents = 0;

  static void fields(auto& self, auto&& visit) {
    visit("images", self.images);
    visit("height", self.height);
    visit("width", self.width);
    visit("channels", self.channels);
    visit("labels", self.labels);
    visit("contents", self.contents);
  }

  bool operator==(const Digest&) const = default;
  friend std::ostream& operator<<(std::ostream& out, const Digest& data) {
    return out << data.images << " images of " << Shape{data.height, data.width, data.channels}
               << (data.labels ? " with" : " without") << " labels, contents " << data.contents;
  }
};

/// The digest of a data set of at least one image. Throws what its read() throws.
template <class T, Dataset<T> D>
Digest digest(const D& data) {
  const Shape s = data.image_shape();
  Digest result{data.size(), s[0], s[1], s[2], has_labels(data), 0};
  io::Crc32 crc;
  const Tensor<T> pixels(s);
  const View<T> image = pixels;
  const Index count = std::min<Index>(64, result.images);
  for (Index i = 0; i < count; ++i) {
    data.read(i * result.images / count, image);
    crc.add(image.data, static_cast<std::size_t>(image.size()) * sizeof(T));
  }
  for (Index i = 0; result.labels && i < result.images; ++i) {
    const Index label = label_of(data, i);
    crc.add(&label, sizeof label);
  }
  result.contents = crc.value();
  return result;
}

}  // namespace ddpm::DDPM_ABI::data
