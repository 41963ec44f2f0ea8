// IDX, the format of MNIST and its kin, plain or gzip: two zero bytes, element type, rank, extents
// (32-bit big-endian), then the elements, row-major (LeCun, Cortes, Burges).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>

#include "ddpm/data/gzip.hpp"
#include "ddpm/data/hint.hpp"
#include "ddpm/data/image_set.hpp"

namespace ddpm::DDPM_ABI::data {

namespace detail {

struct IdxHeader {
  std::array<Index, 3> extents{1, 1, 1};
  Index elements = 1;
  std::size_t size = 0;  ///< bytes before the elements
};

/// Reads and checks the header of an IDX of unsigned bytes with `rank` extents.
inline IdxHeader parse_idx_header(const io::Bytes& bytes, std::size_t rank,
                                  const std::string& name) {
  const auto fail = [&](const auto&... what) { throw IoError(message(name, ": ", what...)); };
  IdxHeader header;
  header.size = 4 + 4 * rank;
  if (bytes.size() < 4) fail("an IDX file of ", bytes.size(), " bytes");
  const bool swapped = bytes[2] == 0 && bytes[3] == 0 && bytes[1] == 8;
  if (bytes[0] != 0 || bytes[1] != 0)
    fail("not an IDX file, which begins with two zero bytes",
         swapped ? "; the header's bytes are swapped" : file_hint(bytes));
  if (bytes[2] != 8) fail("IDX element type ", int{bytes[2]}, ", expected 8 (unsigned byte)");
  if (bytes[3] != rank)
    fail("IDX of rank ", int{bytes[3]}, ", expected ", rank,
         bytes[3] == 1   ? "; it holds labels"
         : bytes[3] == 3 ? "; it holds images"
                         : "");
  if (bytes.size() < header.size) fail("IDX header cut short after ", bytes.size(), " bytes");
  for (std::size_t i = 0; i < rank; ++i) {
    const std::uint8_t* word = bytes.data() + 4 + 4 * i;
    const Index extent =
        Index{word[0]} << 24 | Index{word[1]} << 16 | Index{word[2]} << 8 | word[3];
    if (extent == 0) fail("IDX extent ", i, " is 0");
    if (header.elements > (Index{1} << 40) / extent) fail("IDX extents multiply to more than 2^40");
    header.extents[i] = extent;
    header.elements *= extent;
  }
  return header;
}

/// Throws IoError unless the elements fill the rest of the file exactly.
inline void check_idx_size(const IdxHeader& header, std::size_t bytes, const std::string& name) {
  const Index rest = static_cast<Index>(bytes - header.size);
  if (rest != header.elements)
    throw IoError(message(name, ": the IDX header promises ", header.elements,
                          " bytes of elements, the file has ", rest));
}

/// The bytes of an IDX file that may be gzip, unpacked. What gzip unpacks to is known from its
/// first bytes.
inline io::Bytes unpacked_idx(io::Bytes bytes, std::size_t rank, const std::string& name) {
  if (!is_gzip(bytes)) return bytes;
  const auto header = parse_idx_header(gunzip_start(bytes, name, 16), rank, name);
  return gunzip(bytes, name, header.size + static_cast<std::size_t>(header.elements));
}

}  // namespace detail

/// Images from the bytes of an IDX file (N, H, W), plain or gzip, as (N, H, W, 1). `name` stands in
/// errors. Throws IoError if the bytes are anything else.
template <class T>
ImageSet<T> parse_idx_images(io::Bytes bytes, const std::string& name) {
  bytes = detail::unpacked_idx(std::move(bytes), 3, name);
  const auto header = detail::parse_idx_header(bytes, 3, name);
  detail::check_idx_size(header, bytes.size(), name);
  const auto& [N, H, W] = header.extents;
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(header.size));
  return {{N, H, W, 1}, std::move(bytes)};
}

/// Images of an IDX file, plain or gzip, as (N, H, W, 1).
/// Throws IoError with the path if it cannot be read or is not such a file.
template <class T>
ImageSet<T> read_idx_images(const std::filesystem::path& path) {
  return parse_idx_images<T>(io::read_file(path), path.string());
}

/// Labels from the bytes of an IDX file (N), plain or gzip, each below `classes`. `name` stands in
/// errors. Throws IoError if the bytes are anything else, or a label is too large.
inline std::vector<Index> parse_idx_labels(io::Bytes bytes, const std::string& name,
                                           Index classes = 10) {
  bytes = detail::unpacked_idx(std::move(bytes), 1, name);
  const auto header = detail::parse_idx_header(bytes, 1, name);
  detail::check_idx_size(header, bytes.size(), name);
  std::vector<Index> labels(bytes.begin() + static_cast<std::ptrdiff_t>(header.size), bytes.end());
  for (std::size_t i = 0; i < labels.size(); ++i)
    if (labels[i] >= classes)
      throw IoError(message(name, ": label ", i, " is ", labels[i], ", expected below ", classes));
  return labels;
}

/// Labels of an IDX file (N), plain or gzip, each below `classes`.
/// Throws IoError with the path if it cannot be read, is not such a file, or a label is too large.
inline std::vector<Index> read_idx_labels(const std::filesystem::path& path, Index classes = 10) {
  return parse_idx_labels(io::read_file(path), path.string(), classes);
}

/// Images and labels from two IDX files, labels below `classes`. Throws IoError also if their
/// counts differ.
template <class T>
ImageSet<T> read_idx(const std::filesystem::path& images, const std::filesystem::path& labels,
                     Index classes = 10) {
  const ImageSet<T> set = read_idx_images<T>(images);
  const std::vector<Index> classes_of = read_idx_labels(labels, classes);
  if (std::ssize(classes_of) != set.size())
    throw IoError(message(labels.string(), ": ", classes_of.size(), " labels for the ", set.size(),
                          " images of ", images.string()));
  return set.with_labels(classes_of);
}

}  // namespace ddpm::DDPM_ABI::data
