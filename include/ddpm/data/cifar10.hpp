// CIFAR-10, binary version (Krizhevsky 2009): records of one label byte and 3 x 32 x 32 pixels, all
// red, then all green, then all blue. Plain or gzip.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/data/gzip.hpp"
#include "ddpm/data/hint.hpp"
#include "ddpm/data/image_set.hpp"

namespace ddpm::DDPM_ABI::data {

/// Images (N, 32, 32, 3) and labels 0 to 9 from the bytes of one or more batches.
/// `name` stands in errors. Throws IoError if the bytes are anything else.
template <class T>
ImageSet<T> parse_cifar10(const io::Bytes& bytes, const std::string& name) {
  constexpr Index pixels = 32 * 32, record = 1 + 3 * pixels;
  const Index size = std::ssize(bytes), count = size / record;
  if (size == 0) throw IoError(message(name, ": empty, expected CIFAR-10 records"));
  if (size % record != 0)
    throw IoError(message(name, ": ", size, " bytes are no whole number of records of ", record,
                          " bytes",
                          size % (record + 1) == 0 ? "; it is CIFAR-100" : file_hint(bytes)));
  io::Bytes all(static_cast<std::size_t>(count * 3 * pixels));
  std::vector<Index> labels;
  for (Index n = 0; n < count; ++n) {
    const std::uint8_t* in = bytes.data() + n * record;
    if (in[0] > 9)
      throw IoError(message(name, ": record ", n, " has label ", int{in[0]}, ", expected 0 to 9",
                            size % (record + 1) == 0 ? "; it is CIFAR-100" : ""));
    labels.push_back(in[0]);
    std::uint8_t* out = all.data() + n * 3 * pixels;
    for (Index p = 0; p < pixels; ++p)
      for (Index c = 0; c < 3; ++c) out[p * 3 + c] = in[1 + c * pixels + p];
  }
  return {{count, 32, 32, 3}, std::move(all), std::move(labels)};
}

namespace detail {

/// What a folder without batches most often is.
inline std::string cifar_folder_hint(const std::filesystem::path& folder) {
  const auto holds = [&](const char* name) { return std::filesystem::exists(folder / name); };
  if (holds("train.bin") || holds("fine_label_names.txt")) return "; it is CIFAR-100";
  if (holds("data_batch_1")) return "; it is the Python version: take the binary one";
  if (holds("cifar-10-batches-bin")) return "; the batches are in its folder cifar-10-batches-bin";
  for (const char* archive : {"cifar-10-binary.tar.gz", "cifar-10-binary.tar"})
    if (holds(archive)) return message("; unpack ", archive, " first");
  return "";
}

}  // namespace detail

/// One batch file, or a folder with data_batch_1.bin to data_batch_5.bin (or .bin.gz): then the
/// 50,000 training images.
/// Throws IoError that names the file if one is missing or damaged.
template <class T>
ImageSet<T> read_cifar10(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path))
    return parse_cifar10<T>(read_maybe_gzip(path), path.string());
  io::Bytes all;
  for (int batch = 1; batch <= 5; ++batch) {
    std::filesystem::path file = path / ("data_batch_" + std::to_string(batch) + ".bin");
    if (!std::filesystem::exists(file)) file += ".gz";
    if (!std::filesystem::exists(file))
      throw IoError(message(path.string(), ": data_batch_", batch, ".bin is missing",
                            detail::cifar_folder_hint(path)));
    const io::Bytes bytes = read_maybe_gzip(file);
    parse_cifar10<T>(bytes, file.string());  // whose errors name the file
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  return parse_cifar10<T>(all, path.string());
}

}  // namespace ddpm::DDPM_ABI::data
