// A folder of pictures as a data set. A picture is decoded when it is asked for, and its pixels, at
// the size asked for, are kept, so that later epochs need no decoding.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>

#include "ddpm/core/parallel.hpp"
#include "ddpm/data/image_set.hpp"
#include "ddpm/io/image.hpp"

namespace ddpm::DDPM_ABI::data {

struct ImageFolderOptions {
  Index height = 32, width = 32;  ///< pixels; pictures are resized to cover that, then cropped
  Index channels = 3;             ///< 3: RGB, 1: grey
  bool skip_damaged = false;      ///< leave out pictures that do not decode, instead of throwing
  std::size_t cache_bytes = std::size_t{1} << 30;  ///< of decoded pictures that are kept
};

/// What is in a folder and its sub-folders.
struct FolderContents {
  std::vector<std::filesystem::path> pictures;  ///< sorted
  std::map<std::string, Index> left_out;        ///< how many files or folders, by the reason

  /// "159 pictures; left out: 3 .webp (this format is not read), 1 damaged (the
  /// first: ...)"
  std::string summary() const {
    std::string text = message(pictures.size(), " pictures");
    for (const auto& [reason, count] : left_out)
      text +=
          message(text.find(';') == std::string::npos ? "; left out: " : ", ", count, " ", reason);
    return text;
  }
};

namespace detail {

/// The ending of a file, ".png", in small letters.
inline std::string ending_of(const std::filesystem::path& file) {
  std::string ending = file.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return ending;
}

inline bool is_one_of(const std::string& text, std::initializer_list<const char*> list) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

inline void list_file(const std::filesystem::path& file, FolderContents& contents) {
  const std::string ending = ending_of(file);
  if (is_one_of(ending, {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".pnm"}))
    contents.pictures.push_back(file);
  else if (is_one_of(ending, {".webp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".jp2",
                              ".svg", ".psd", ".raw", ".dng", ".cr2", ".nef", ".arw", ".tga"}))
    ++contents.left_out[ending + " (this format is not read)"];
  else
    ++contents.left_out["of other kinds"];
}

/// Adds the contents of a folder. `seen` holds the folders entered so far, under their real names,
/// so that links cannot lead round in a circle.
inline void list_folder(const std::filesystem::path& folder, std::set<std::string>& seen,
                        FolderContents& contents) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path real = fs::canonical(folder, error);
  if (!error && !seen.insert(real.string()).second) return;
  for (auto it = fs::directory_iterator(folder, error); !error && it != fs::end(it);
       it.increment(error)) {
    if (it->path().filename().string().starts_with('.')) continue;
    std::error_code unreadable;
    const fs::file_status status = fs::status(it->path(), unreadable);  // follows links
    if (fs::is_directory(status))
      list_folder(it->path(), seen, contents);
    else if (fs::is_regular_file(status))
      list_file(it->path(), contents);
    else
      ++contents.left_out[fs::is_symlink(it->path(), unreadable) ? "links that lead nowhere"
                                                                 : "neither files nor folders"];
  }
  if (error) ++contents.left_out[message("folders (", error.message(), ")")];
}

}  // namespace detail

/// PNG, JPEG, BMP, GIF and PNM files of a folder and its sub-folders by their ending, and what else
/// is there. Links are followed, each folder is entered once; hidden files and folders are ignored.
/// Throws IoError if the folder itself cannot be read.
inline FolderContents list_images(const std::filesystem::path& folder) {
  std::error_code error;
  const std::filesystem::directory_iterator readable(folder, error);
  if (error) throw IoError(message(folder.string(), ": ", error.message()));
  FolderContents contents;
  std::set<std::string> seen;
  detail::list_folder(folder, seen, contents);
  std::sort(contents.pictures.begin(), contents.pictures.end());
  return contents;
}

/// The pictures of a folder in the order of list_images().
template <class T>
class ImageFolder {
 public:
  static constexpr bool reads_slowly = true;

  /// Looks through every picture's file (see io::image_info); with skip_damaged decodes every one.
  /// Throws IoError if there is no picture, or one is damaged (unless skipped);
  /// PreconditionError if an option is out of range.
  explicit ImageFolder(const std::filesystem::path& folder, const ImageFolderOptions& options = {})
      : options_(options) {
    require(options.height >= 1 && options.width >= 1, "ImageFolder: pictures of ", options.height,
            " x ", options.width, ", expected at least 1 x 1");
    require(options.channels == 1 || options.channels == 3, "ImageFolder: ", options.channels,
            " channels, expected 1 or 3");
    contents_ = list_images(folder);
    kept_.resize(contents_.pictures.size());
    check_pictures();
    if (contents_.pictures.empty())
      throw IoError(message(folder.string(), ": no PNG, JPEG, BMP, GIF or PNM picture that can be ",
                            "read (", contents_.summary(), ")"));
  }

  Index size() const { return std::ssize(contents_.pictures); }
  Shape image_shape() const { return {options_.height, options_.width, options_.channels}; }
  const std::filesystem::path& path(Index i) const {
    return contents_.pictures[static_cast<std::size_t>(i)];
  }
  /// What was found, and what was left out and why.
  const FolderContents& contents() const { return contents_; }

  /// Writes picture i in [-1, 1]. Throws IoError if it cannot be read.
  void read(Index i, View<T> image) const {
    const Pixels pixels = decoded(static_cast<std::size_t>(i));
    from_bytes(pixels->data(), image.size(), image.data);
  }

 private:
  using Pixels = std::shared_ptr<const io::Bytes>;

  Pixels decoded(std::size_t i) const {
    {
      const std::lock_guard lock(*mutex_);
      if (kept_[i]) return kept_[i];
    }
    const std::filesystem::path& file = contents_.pictures[i];
    const auto picture = io::decode_image(read_picture(file), options_.channels, file.string());
    auto pixels = std::make_shared<const io::Bytes>(
        io::fit_image(picture, options_.height, options_.width).pixels);
    const std::lock_guard lock(*mutex_);
    if (kept_bytes_ + pixels->size() <= options_.cache_bytes) {
      kept_[i] = pixels;
      kept_bytes_ += pixels->size();
    }
    return pixels;
  }

  static io::Bytes read_picture(const std::filesystem::path& file) {
    return io::read_file(file, io::most_picture_bytes);
  }

  /// Throws at the first damaged picture, or leaves all of them out.
  void check_pictures() {
    auto& files = contents_.pictures;
    std::vector<std::string> problems(files.size());
    parallel_for(std::ssize(files), [&](Index i) {
      const auto at = static_cast<std::size_t>(i);
      try {
        if (options_.skip_damaged)
          decoded(at);
        else
          io::image_info(read_picture(files[at]), files[at].string());
      } catch (const IoError& error) {
        problems[at] = error.what();
      }
    });
    std::size_t count = 0;
    std::string first_problem;
    for (std::size_t i = 0; i < files.size(); ++i) {
      if (!problems[i].empty()) {
        if (!options_.skip_damaged) throw IoError(problems[i]);
        if (first_problem.empty()) first_problem = problems[i];
        continue;
      }
      std::swap(files[count], files[i]);
      std::swap(kept_[count++], kept_[i]);
    }
    if (count < files.size())
      contents_.left_out[message("damaged (the first: ", first_problem, ")")] =
          static_cast<Index>(files.size() - count);
    files.resize(count);
    kept_.resize(count);
  }

  ImageFolderOptions options_;
  FolderContents contents_;
  std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();  ///< of the two below
  mutable std::vector<Pixels> kept_;
  mutable std::size_t kept_bytes_ = 0;
};

}  // namespace ddpm::DDPM_ABI::data
