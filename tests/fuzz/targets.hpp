// What is fuzzed: each loader with any bytes. A loader gives a value that keeps its promises, or
// throws an IoError of a few lines; anything else, another exception too, is a defect.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdio>
#include <ddpm/ddpm.hpp>
#include <ddpm/interop/diffusers.hpp>
#include <fstream>

namespace fuzz {

using namespace ddpm;

/// Ends the process: what was promised does not hold.
inline void expect(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "not as promised: %s\n", what);
  std::abort();
}

/// Runs f(), which may throw an IoError that names the file "f" and is short.
template <class F>
void value_or_error(const F& f) {
  try {
    f();
  } catch (const IoError& error) {
    const std::string text = error.what();
    expect(text.starts_with("f") && text.size() < 20'000, "an error names the file and is short");
  }
}

inline void idx(const io::Bytes& bytes) {
  value_or_error([&] {
    const auto set = data::parse_idx_images<float>(bytes, "f");
    expect(set.size() >= 1 && set.shape().size() <= Index{1} << 40, "images have sizes");
    const Tensor<float> last(set.image_shape());
    set.read(set.size() - 1, last);
    for (const float pixel : last) expect(pixel >= -1 && pixel <= 1, "pixels are in [-1, 1]");
  });
  value_or_error([&] {
    for (const Index label : data::parse_idx_labels(bytes, "f", 7))
      expect(label >= 0 && label < 7, "labels are below the number of classes");
  });
}

inline void gzip(const io::Bytes& bytes) {
  constexpr std::size_t most = 1 << 20;
  value_or_error([&] {
    const auto all = data::gunzip(bytes, "f", most);
    expect(all.size() <= most, "not more than the limit is unpacked");
    const auto start = data::gunzip_start(bytes, "f", all.size() / 2);
    expect(start.size() == all.size() / 2 && std::equal(start.begin(), start.end(), all.begin()),
           "the start of a file is its start");
  });
}

inline void cifar10(const io::Bytes& bytes) {
  value_or_error([&] {
    const auto set = data::parse_cifar10<float>(bytes, "f");
    expect(set.size() >= 1 && set.size() * 3073 == std::ssize(bytes), "all records are read");
    for (const Index label : set.labels()) expect(label >= 0 && label <= 9, "labels are 0 to 9");
  });
}

inline void safetensors(const io::Bytes& bytes) {
  value_or_error([&] {
    const io::Safetensors file(bytes, "f");
    for (const std::string& name : file.names())
      value_or_error([&] {
        expect(file.tensor<float>(name).shape() == file.shape(name), "tensors have their shapes");
        file.tensor<double>(name);
      });
    expect(file.value_count() <= bytes.size(), "a value takes a byte or more");
  });
}

inline void image(const io::Bytes& bytes) {
  for (const Index channels : {1, 3})
    value_or_error([&] {
      const auto picture = io::decode_image(bytes, channels, "f");
      expect(std::ssize(picture.pixels) == picture.height * picture.width * channels,
             "pictures are whole");
      const auto fitted = io::fit_image(picture, 5, 7);
      expect(std::ssize(fitted.pixels) == 35 * channels, "pictures have the size asked for");
    });
}

/// The lines "key=value" of a text, which take the place of those in `metadata`; "key" takes one
/// away. Text is ASCII: what is no UTF-8 is not written.
inline void change(io::Metadata& metadata, io::Bytes bytes) {
  for (std::uint8_t& byte : bytes) byte &= 0x7F;
  for (auto line = bytes.begin(); line < bytes.end();) {
    const auto end = std::find(line, bytes.end(), '\n'), equals = std::find(line, end, '=');
    const std::string key(line, equals);
    if (equals == end)
      metadata.erase(key);
    else
      metadata[key] = std::string(equals + 1, end);
    line = end == bytes.end() ? end : end + 1;
  }
}

/// The bytes of a safetensors file.
inline io::Bytes file_of(const std::vector<io::StoredTensor>& tensors,
                         const io::Metadata& metadata) {
  static const std::string path =
      message(std::filesystem::temp_directory_path().string(), "/ddpm-fuzz-", ::getpid());
  io::write_safetensors(path, tensors, metadata);
  const io::Bytes bytes = io::read_file(path);
  std::filesystem::remove(path);
  return bytes;
}

inline const UNetConfig small{
    .channels = 4, .multipliers = {1}, .blocks = 1, .attention_levels = {0}, .groups = 2};

template <class Network>
void checkpoint_of(const Network& network, const io::Bytes& bytes) {
  const Scheduler<float> scheduler({.timesteps = 4});
  io::Metadata metadata = detail::model_metadata(network, scheduler);
  change(metadata, bytes);
  std::vector<io::StoredTensor> tensors;
  const auto parameters = nn::named_parameters<float>(network);
  for (const auto& [name, parameter] : parameters) tensors.emplace_back(name, parameter.value());
  value_or_error([&] {
    const io::Safetensors file(file_of(tensors, metadata), "f");
    const auto loaded = load_checkpoint<float, Network>(file, "f");
    expect(nn::parameter_count<float>(loaded.network) == nn::parameter_count<float>(network),
           "a network has all values of its file");
  });
}

inline void checkpoint(const io::Bytes& bytes) {
  static const UNet<float> network(small, Rng(1));
  static const TutorialUNet<float> tutorial(
      {.levels = {4}, .attention_levels = {0}, .heads = 2, .groups = 2}, Rng(1));
  static const std::string_view name = "Tutorial";
  if (std::search(bytes.begin(), bytes.end(), name.begin(), name.end()) != bytes.end())
    checkpoint_of(tutorial, bytes);
  else
    checkpoint_of(network, bytes);
}

inline void run_state(const io::Bytes& bytes) {
  static const std::string path =
      message(std::filesystem::temp_directory_path().string(), "/ddpm-fuzz-state-", ::getpid());
  static const UNet<float> network(small, Rng(1));
  static const auto new_trainer = [] {
    return std::make_unique<Trainer<float>>(network, Scheduler<float>({.timesteps = 4}),
                                            TrainerOptions{.progress = Progress::silent});
  };
  static auto trainer = new_trainer();
  static const io::Safetensors saved = [] {
    trainer->save(path);
    return io::Safetensors::read(path);
  }();
  static const auto timesteps = saved.tensor<double>("training.timesteps");
  static const auto values = [] {
    std::vector<io::NamedTensor<float>> result;
    for (const auto& name : saved.names())
      if (name != "training.timesteps") result.push_back({name, saved.tensor<float>(name)});
    return result;
  }();
  std::vector<io::StoredTensor> tensors;
  for (const auto& [name, tensor] : values) tensors.emplace_back(name, tensor);
  tensors.emplace_back("training.timesteps", timesteps);
  io::Metadata metadata = saved.metadata();
  change(metadata, bytes);
  io::write_safetensors(path, tensors, metadata);
  try {
    trainer->resume(path);
    trainer = new_trainer();
  } catch (const IoError& error) {
    expect(std::string(error.what()).starts_with(path), "an error names the file");
    expect(trainer->steps() == 0 && trainer->mean_loss() == 0, "the trainer is untouched");
  }
  std::filesystem::remove(path);
}

/// The first byte chooses a file of a folder of diffusers, the others are what it holds.
inline void diffusers(const io::Bytes& bytes) {
  static const std::filesystem::path folder =
      message(std::filesystem::temp_directory_path().string(), "/ddpm-fuzz-diffusers-", ::getpid());
  if (bytes.empty()) return;
  interop::save_diffusers(folder, UNet<float>(small, Rng(1)), Scheduler<float>({.timesteps = 4}));
  static constexpr const char* files[] = {"unet/config.json", "scheduler/scheduler_config.json",
                                          "model_index.json"};
  io::write_file(folder / files[bytes[0] % 3], bytes.data() + 1, bytes.size() - 1);
  try {
    const auto model = interop::load_diffusers<float>(folder);
    const Index own = nn::parameter_count<float>(UNet<float>(small, Rng(1)));
    expect(nn::parameter_count<float>(model.network) == own,
           "a network has the values of its file");
    expect(model.scheduler.timesteps() >= 1, "a process has steps");
  } catch (const IoError& error) {
    const std::string text = error.what();
    expect(text.starts_with(folder.string()) && text.size() < 20'000,
           "an error names the file and is short");
  }
  std::filesystem::remove_all(folder);
}

/// Makes a folder of what the bytes say: pieces of [kind] [size, two bytes] [contents].
class Folder {
 public:
  explicit Folder(const io::Bytes& bytes)
      : path_(message(std::filesystem::temp_directory_path().string(), "/ddpm-fuzz-folder-",
                      ::getpid())) {
    std::filesystem::create_directories(path_ / "sub");
    for (std::size_t at = 0, i = 0; at + 3 <= bytes.size() && i < 8; ++i) {
      const std::size_t size =
          std::min(std::size_t{bytes[at + 1]} << 8 | bytes[at + 2], bytes.size() - at - 3);
      add(bytes[at], std::to_string(i), bytes.data() + at + 3, size);
      at += 3 + size;
    }
  }
  ~Folder() { std::filesystem::remove_all(path_); }

  const std::filesystem::path& path() const { return path_; }

 private:
  void add(std::uint8_t kind, const std::string& name, const std::uint8_t* data, std::size_t size) {
    static constexpr const char* endings[] = {".png", ".jpg",  ".bmp", ".gif",
                                              ".PPM", ".webp", "",     ".png"};
    const auto file = (kind & 8 ? path_ / "sub" : path_) / (name + endings[kind & 7]);
    std::error_code ignored;
    switch (kind >> 4) {
      case 15: return std::filesystem::create_symlink(file, file, ignored);  // of itself
      case 14: return std::filesystem::create_symlink("..", file, ignored);
      case 13: return std::filesystem::create_symlink("0.png", file, ignored);
      case 12: std::filesystem::create_directory(file, ignored); return;
      case 11: ::mkfifo(file.c_str(), 0600); return;
      default:
        std::ofstream(file, std::ios::binary)
            .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
    }
  }

  std::filesystem::path path_;
};

inline void image_folder(const io::Bytes& bytes) {
  const Folder folder(bytes);
  for (const bool skip : {false, true}) {
    try {
      const data::ImageFolder<float> set(
          folder.path(), {.height = 4, .width = 3, .channels = 1, .skip_damaged = skip});
      const Tensor<float> picture(set.image_shape());
      for (Index i = 0; i < set.size(); ++i) set.read(i, picture);
      expect(set.size() >= 1, "a data set has a picture");
    } catch (const IoError& error) {
      expect(std::string(error.what()).starts_with(folder.path().string()),
             "an error names the file");
    }
  }
}

struct Target {
  const char* name;
  void (*run)(const io::Bytes&);
};
inline constexpr Target targets[] = {{"idx", idx},
                                     {"gzip", gzip},
                                     {"cifar10", cifar10},
                                     {"safetensors", safetensors},
                                     {"checkpoint", checkpoint},
                                     {"run_state", run_state},
                                     {"image", image},
                                     {"image_folder", image_folder},
                                     {"diffusers", diffusers}};

}  // namespace fuzz
