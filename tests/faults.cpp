// What happens when the system says no: the k-th system call of saving and loading fails, for every
// k [CK-3, CK-4], and the n-th allocation of a training step, of saving and of loading, for every n
// [MB-2]. A process of its own: it stands before the system's functions.
#include <ddpm/ddpm.hpp>

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "wake_threads.hpp"

namespace {

/// Which call fails, counted from 1; 0: none does.
struct Fault {
  std::atomic<long> seen{0};
  long at = 0;
  int error = 0;

  /// From now on calls are counted.
  void begin(long which, int number = 0) {
    seen = 0;
    error = number;
    at = which;
  }
  /// True if the call that was to fail has come.
  bool end() {
    const bool came = seen >= at;
    at = 0;
    return came;
  }
  bool fails() { return at > 0 && ++seen == at; }
};
Fault call_fault, allocation_fault;

/// Failing, with the call's error, or the real call.
template <class Real, class... Arguments>
auto call(const char* name, Arguments... arguments) {
  if (call_fault.fails()) {
    errno = call_fault.error;
    return decltype(std::declval<Real>()(arguments...)){-1};
  }
  return reinterpret_cast<Real>(::dlsym(RTLD_NEXT, name))(arguments...);
}

/// Where the C library lies. What it allocates for itself may fail only by ending the process.
bool in_c_library(const void* address) {
  static ElfW(Addr) begin = 0, end = 0;
  if (end == 0)
    ::dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void*) {
          if (std::string_view(info->dlpi_name).find("/libc.so") == std::string_view::npos)
            return 0;
          begin = info->dlpi_addr;
          for (int i = 0; i < info->dlpi_phnum; ++i)
            end = std::max(end, begin + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz);
          return 1;
        },
        nullptr);
  const auto place = reinterpret_cast<ElfW(Addr)>(address);
  return place >= begin && place < end;
}

std::atomic<long> live_blocks{0};

bool allocation_fails(const void* caller) {
  if (allocation_fault.at == 0 || in_c_library(caller) || !allocation_fault.fails()) return false;
  errno = ENOMEM;
  return true;
}

}  // namespace

extern "C" {
int open(const char* path, int flags, ...) {
  std::va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return call<int (*)(const char*, int, mode_t)>("open", path, flags, mode);
}
ssize_t read(int file, void* data, size_t size) {
  return call<ssize_t (*)(int, void*, size_t)>("read", file, data, size);
}
ssize_t write(int file, const void* data, size_t size) {
  return call<ssize_t (*)(int, const void*, size_t)>("write", file, data, size);
}
int fsync(int file) { return call<int (*)(int)>("fsync", file); }
int close(int file) {
  const int result = call<int (*)(int)>("close", file);
  // The descriptor is gone even where closing it fails, as on Linux.
  if (result != 0) reinterpret_cast<int (*)(int)>(::dlsym(RTLD_NEXT, "close"))(file);
  return result;
}
int rename(const char* from, const char* to) noexcept {
  return call<int (*)(const char*, const char*)>("rename", from, to);
}
int unlink(const char* path) noexcept { return call<int (*)(const char*)>("unlink", path); }
int mkdir(const char* path, mode_t mode) noexcept {
  return call<int (*)(const char*, mode_t)>("mkdir", path, mode);
}
int fchmod(int file, mode_t mode) noexcept {
  return call<int (*)(int, mode_t)>("fchmod", file, mode);
}
int flock(int file, int operation) noexcept {
  return call<int (*)(int, int)>("flock", file, operation);
}
off_t lseek(int file, off_t offset, int whence) noexcept {
  return call<off_t (*)(int, off_t, int)>("lseek", file, offset, whence);
}
int stat(const char* path, struct stat* status) noexcept {
  return call<int (*)(const char*, struct stat*)>("stat", path, status);
}
int lstat(const char* path, struct stat* status) noexcept {
  return call<int (*)(const char*, struct stat*)>("lstat", path, status);
}
int fstat(int file, struct stat* status) noexcept {
  return call<int (*)(int, struct stat*)>("fstat", file, status);
}
ssize_t readlink(const char* path, char* text, size_t size) noexcept {
  return call<ssize_t (*)(const char*, char*, size_t)>("readlink", path, text, size);
}

// glibc keeps its own names for the allocator, so that these may stand in front of them.
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);

void* malloc(std::size_t size) {
  if (allocation_fails(__builtin_return_address(0))) return nullptr;
  ++live_blocks;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  if (allocation_fails(__builtin_return_address(0))) return nullptr;
  ++live_blocks;
  return __libc_calloc(count, size);
}
void* realloc(void* data, std::size_t size) {
  if (allocation_fails(__builtin_return_address(0))) return nullptr;
  if (data == nullptr) ++live_blocks;
  return __libc_realloc(data, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  if (allocation_fails(__builtin_return_address(0))) return nullptr;
  ++live_blocks;
  return __libc_memalign(alignment, size);
}
void free(void* data) {
  if (data != nullptr) --live_blocks;
  __libc_free(data);
}
}

namespace {

using namespace ddpm;

int failures = 0;

void expect(bool condition, std::string_view what) {
  if (condition) return;
  std::fprintf(stderr, "not as promised: %.*s\n", static_cast<int>(what.size()), what.data());
  if (++failures > 20) std::exit(1);
}

UNet<float> small_network(std::uint64_t seed) {
  return {{.image = {.channels = 1},
           .channels = 4,
           .multipliers = {1},
           .blocks = 1,
           .attention_levels = {0},
           .groups = 2},
          Rng(seed)};
}

Tensor<float> images() { return {{6, 8, 8, 1}, 0.25F}; }

TrainerOptions quiet() {
  TrainerOptions options;
  options.batch_size = 2;
  options.steps = 2;
  options.progress = Progress::silent;
  return options;
}

/// Files of a folder, but for `path`.
std::vector<std::string> others(const std::filesystem::path& path) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path.parent_path()))
    if (entry.path() != path) names.push_back(entry.path().filename().string());
  return names;
}

/// A way to write a file, and one to read it.
struct Way {
  const char* name;
  std::function<void(const std::filesystem::path&)> save, load;
};

std::vector<Way> ways() {
  const UNet<float> network = small_network(1);
  const auto trainer =
      std::make_shared<Trainer<float>>(network, Scheduler<float>({.timesteps = 4}), quiet());
  trainer->fit(images());
  const auto resume = [](const std::filesystem::path& path) {
    Trainer<float> other(small_network(2), Scheduler<float>({.timesteps = 4}), quiet());
    const auto before = other.model().conv_in.weight.value().clone();
    try {
      other.resume(path);
      expect(other.steps() == 2, "a resumed run has its updates");
    } catch (...) {
      const auto now = other.model().conv_in.weight.value();
      expect(other.steps() == 0 && std::equal(now.begin(), now.end(), before.begin()),
             "a trainer is untouched where resume() fails");
      throw;
    }
  };
  const auto draw = [](const std::filesystem::path& path) {
    io::write_image<float>(path, Tensor<float>({5, 4, 3}, 0.5F));
  };
  return {{"checkpoint",
           [network](const auto& path) {
             save_checkpoint(path, network, Scheduler<float>({.timesteps = 4}));
           },
           [](const auto& path) { load_checkpoint<float, UNet<float>>(path); }},
          {"run state", [trainer](const auto& path) { trainer->save(path); }, resume},
          {"picture", draw,
           [](const auto& path) { io::decode_image(io::read_file(path), 1, path.string()); }}};
}

/// Runs f with the k-th system call failing. True if it came to that call. f must succeed, or throw
/// an IoError that names `path`.
bool with_failing_call(long k, int error, const std::filesystem::path& path,
                       const std::string& what, bool& succeeded, const std::function<void()>& f) {
  std::string text;
  call_fault.begin(k, error);
  try {
    f();
    succeeded = true;
  } catch (const IoError& failed) {
    succeeded = false;
    text = failed.what();
  }
  const bool came = call_fault.end();
  if (!succeeded)
    expect(text.find(path.filename().string()) != std::string::npos, what + ": " + text);
  expect(came || succeeded, what + ": failed by itself: " + text);
  return came;
}

/// [CK-3, CK-4] Every call of saving and loading.
long system_calls(const std::filesystem::path& folder) {
  long tried = 0;
  for (const Way& way : ways()) {
    const auto path = folder / "file", other = folder / "other" / "file";
    std::filesystem::create_directory(other.parent_path());
    way.save(other);
    const auto fresh = io::read_file(other);
    const std::string old_text = "an older file";
    for (const int error : {ENOSPC, EIO, EACCES, EROFS, EFBIG, EINTR, EMFILE})
      for (long k = 1;; ++k, ++tried) {
        const std::string what =
            message("saving a ", way.name, ", call ", k, " fails with ", error);
        io::write_file(path, old_text.data(), old_text.size());
        bool saved = false;
        const bool came = with_failing_call(k, error, path, what, saved, [&] { way.save(path); });
        const auto now = io::read_file(path);
        const bool whole = now == fresh, old = std::string(now.begin(), now.end()) == old_text;
        expect(saved ? whole : old || whole, what + ": the file is neither old nor new");
        if (!came) break;
        way.save(path);  // and it can be saved again
        expect(io::read_file(path) == fresh, what + ": the next file");
        const auto left = others(path);
        expect(left == std::vector<std::string>{"other"}, what + ": files left over");
      }
    for (const int error : {EIO, EACCES, EINTR, ENOENT, EMFILE})
      for (long k = 1;; ++k, ++tried) {
        bool loaded = false;
        if (!with_failing_call(k, error, path,
                               message("loading a ", way.name, ", call ", k, " fails with ", error),
                               loaded, [&] { way.load(path); }))
          break;
      }
  }
  return tried;
}

/// A training that writes run states while it goes on: a state that cannot be written costs no
/// training, and only the last one is an error.
long calls_of_a_run(const std::filesystem::path& folder) {
  long tried = 0;
  TrainerOptions options = quiet();
  options.steps = 6;
  std::cerr.rdbuf(nullptr);  // it would tell each state that was not written
  for (long k = 1;; k += 1 + k / 10, ++tried) {
    const auto run = folder / message("run-", k);
    options.save = {.folder = run.string(), .minutes = 0, .steps = 2};
    Trainer<float> trainer(small_network(1), Scheduler<float>({.timesteps = 4}), options);
    std::string error;
    call_fault.begin(k, ENOSPC);
    try {
      trainer.fit(images());
    } catch (const IoError& failed) {
      error = failed.what();
    }
    const bool came = call_fault.end();
    expect(error.empty() || error.find(run.string()) != std::string::npos, error);
    expect(trainer.steps() == 6 || (trainer.steps() == 0 && error.find("folder") != error.npos),
           message("call ", k, ": ", trainer.steps(), " updates: ", error));
    if (trainer.steps() == 6)
      expect(latest_run_state(run).has_value(), message("call ", k, ": no state can be read"));
    std::filesystem::remove_all(run);
    if (!came) return tried;
  }
}

/// What is left of the memory that f took while its n-th allocation failed.
struct Trial {
  bool came, out_of_memory;
  long blocks, bytes;
};
template <class F>
Trial with_failing_allocation(long n, const F& f) {
  const long blocks = live_blocks;
  const auto bytes = static_cast<long>(memory::statistics().bytes_in_use);
  bool out_of_memory = false;
  allocation_fault.begin(n);
  try {
    f();
  } catch (const std::bad_alloc&) {
    out_of_memory = true;
  }
  const bool came = allocation_fault.end();
  memory::trim();
  return {came, out_of_memory, live_blocks - blocks,
          static_cast<long>(memory::statistics().bytes_in_use) - bytes};
}

/// Runs f with the n-th allocation failing, n = 1, 2, ... until it succeeds. f must throw
/// std::bad_alloc or succeed, and give back what it took.
template <class F>
long failing_allocations(const std::string& what, const F& f) {
  f();  // what is made once and kept
  wake_threads();
  memory::trim();
  for (long n = 1;; ++n) {
    Trial trial = with_failing_allocation(n, f);
    // A thread may have got its arena, which it keeps; it does not get a second one.
    if (trial.blocks > 0 || trial.bytes != 0) trial = with_failing_allocation(n, f);
    expect(trial.blocks <= 0 && trial.bytes == 0,
           message(what, ", allocation ", n, ": ", trial.blocks, " blocks and ", trial.bytes,
                   " bytes of tensors lost"));
    expect(trial.came || !trial.out_of_memory, message(what, ": out of memory by itself"));
    if (!trial.came) return n - 1;
  }
}

double loss_of_training() {
  Trainer<float> trainer(small_network(1), Scheduler<float>({.timesteps = 4}), quiet());
  double loss = 0;
  trainer.fit(images(), [&](auto&, const TrainingStep& step) { loss = step.loss; });
  return loss;
}

/// With all that a training may have: classes, a learned variance, flips, timesteps by their loss.
void train_with_everything() {
  UNetConfig config = small_network(1).config;
  config.image.classes = 2;
  config.image.learn_variance = true;
  TrainerOptions options = quiet();
  options.loss.loss = Loss::hybrid;
  options.label_dropout = 0.5;
  options.horizontal_flip = true;
  options.timestep_sampling = TimestepSampling::loss_second_moment;
  options.accumulation = 2;
  const Scheduler<float> scheduler({.timesteps = 4, .variance = Variance::learned_range});
  Trainer<float> trainer(UNet<float>(config, Rng(1)), scheduler, options);
  trainer.fit(data::LabelledImages<float>{images(), {0, 1, 0, 1, 0, 1}});
}

long allocations(const std::filesystem::path& folder) {
  long tried = failing_allocations("training with everything", train_with_everything);
  const double loss = loss_of_training();
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    tried += failing_allocations("training", [&] { loss_of_training(); });
    expect(loss_of_training() == loss, "a training after many that failed");
  }
  for (const Way& way : ways()) {
    const auto path = folder / "file";
    tried += failing_allocations(message("saving a ", way.name), [&] { way.save(path); });
    way.save(path);
    tried += failing_allocations(message("loading a ", way.name), [&] { way.load(path); });
  }
  return tried;
}

/// A pool that cannot be made, in a process that has none yet.
long cold_starts() {
  const double loss = loss_of_training();
  for (long n = 1;; ++n) {
    const pid_t child = ::fork();
    if (child == 0) {
      bool came = false;
      allocation_fault.begin(n);
      try {
        set_num_threads(4);
        loss_of_training();
      } catch (const std::bad_alloc&) {
      } catch (const std::system_error&) {
      }
      came = allocation_fault.end();
      std::exit(loss_of_training() == loss ? (came ? 0 : 3) : 2);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 3) return n - 1;
    expect(status == 0, message("a cold start, allocation ", n, ": status ", status));
  }
}

}  // namespace

int main() {
  std::string name = (std::filesystem::temp_directory_path() / "ddpm-faults-XXXXXX").string();
  const std::filesystem::path folder = ::mkdtemp(name.data());
  const long cold = cold_starts();
  std::printf("%ld failing allocations from a cold start\n", cold);
  std::printf("%ld failing allocations\n", allocations(folder));
  std::filesystem::remove_all(folder);
  std::filesystem::create_directory(folder);
  std::printf("%ld failing system calls\n", system_calls(folder));
  std::printf("%ld failing system calls of a run\n", calls_of_a_run(folder));
  std::filesystem::remove_all(folder);
  return failures == 0 ? 0 : 1;
}
