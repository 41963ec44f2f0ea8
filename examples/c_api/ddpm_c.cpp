// The library behind ddpm/c_api.h.
//
// SPDX-License-Identifier: MIT
#include <ddpm/c_api.h>

#include <new>
#include <variant>

#include "../any_model.hpp"

using namespace ddpm;

struct ddpm_model {
  std::variant<Checkpoint<float, UNet<float>>, Checkpoint<float, TutorialUNet<float>>> any;
  Index parameters;
};

struct ddpm_options {
  SampleOptions values{.sampler = Sampler::dpm_solver_2m, .steps = 20};

  static void fields(auto& self, auto&& visit) {
    SampleOptions& o = self.values;
    visit("seed", o.seed);
    visit("first", o.first);
    visit("batch_size", o.batch_size);
    visit("height", o.height);
    visit("width", o.width);
    visit("sampler", o.sampler);
    visit("steps", o.steps);
    visit("spacing", o.spacing);
    visit("final", o.final);
    visit("eta", o.eta);
    visit("noise", o.noise);
    visit("labels", o.labels);
    visit("guidance", o.guidance);
    visit("precision", o.precision);
  }
};

namespace {

thread_local std::string error_text;

struct Cancelled {};

int failed(int code, const char* text) noexcept {
  try {
    error_text = text;
  } catch (const std::bad_alloc&) {
  }
  return code;
}

/// Runs f() and turns what it throws into a code and a text.
template <class F>
int guarded(const F& f) noexcept {
  try {
    f();
    return DDPM_OK;
  } catch (const Cancelled&) {
    return failed(DDPM_CANCELLED, "cancelled");
  } catch (const PreconditionError& error) {
    return failed(DDPM_ARGUMENT, error.what());
  } catch (const IoError& error) {
    return failed(DDPM_FILE, error.what());
  } catch (const NonFiniteError& error) {
    return failed(DDPM_NOT_FINITE, error.what());
  } catch (const std::bad_alloc&) {
    return failed(DDPM_MEMORY, "not enough memory");
  } catch (const std::exception& error) {
    return failed(DDPM_OTHER, error.what());
  } catch (...) {  // of a progress function in C++
    return failed(DDPM_OTHER, "an exception that is no std::exception");
  }
}

template <class... Pointers>
void check_not_null(const char* where, const Pointers*... pointers) {
  require(((pointers != nullptr) && ...), where, ": a pointer is null");
}

template <class F>
auto with_model(const ddpm_model* model, const F& f) {
  return std::visit(f, model->any);
}

ImageSpec image_of(const ddpm_model* model) {
  return with_model(model, [](const auto& m) { return m.network.config.image; });
}

/// Throws PreconditionError if there is no room for that many floats.
void check_room(const char* where, const Shape& shape, std::size_t capacity) {
  require(static_cast<std::size_t>(shape.size()) <= capacity, where, ": ", shape, " are ",
          shape.size(), " floats, there is room for ", capacity);
}

}  // namespace

#define DDPM_TEXT_OF(number) #number
#define DDPM_DOTTED(a, b, c) DDPM_TEXT_OF(a) "." DDPM_TEXT_OF(b) "." DDPM_TEXT_OF(c)

const char* ddpm_version(void) {
  return DDPM_DOTTED(DDPM_VERSION_MAJOR, DDPM_VERSION_MINOR, DDPM_VERSION_PATCH);
}

const char* ddpm_error_text(void) { return error_text.c_str(); }

int ddpm_set_threads(int threads) {
  return guarded([&] {
    require(threads >= 0, "ddpm_set_threads: ", threads, " threads, expected 0 or more");
    set_num_threads(threads > 0 ? threads : ddpm::detail::default_num_threads());
  });
}

int ddpm_threads(void) {
  int threads = 0;
  guarded([&] { threads = num_threads(); });
  return threads;
}

int ddpm_load(const char* path, ddpm_model** model) {
  if (model != nullptr) *model = nullptr;
  return guarded([&] {
    check_not_null("ddpm_load", path, model);
    examples::with_checkpoint(path, [&](const auto& loaded) {
      using Network = std::decay_t<decltype(loaded.network)>;
      *model = new ddpm_model{Checkpoint<float, Network>{loaded.network, loaded.scheduler},
                              nn::parameter_count<float>(loaded.network)};
    });
  });
}

void ddpm_free(ddpm_model* model) { delete model; }

int64_t ddpm_height(const ddpm_model* model) { return image_of(model).height; }
int64_t ddpm_width(const ddpm_model* model) { return image_of(model).width; }
int64_t ddpm_channels(const ddpm_model* model) { return image_of(model).channels; }
int64_t ddpm_classes(const ddpm_model* model) { return image_of(model).classes; }
int64_t ddpm_timesteps(const ddpm_model* model) {
  return with_model(model, [](const auto& m) { return m.scheduler.timesteps(); });
}
int64_t ddpm_parameters(const ddpm_model* model) { return model->parameters; }

ddpm_options* ddpm_options_new(void) { return new (std::nothrow) ddpm_options; }
void ddpm_options_free(ddpm_options* options) { delete options; }

int ddpm_options_set(ddpm_options* options, const char* name, const char* value) {
  return guarded([&] {
    check_not_null("ddpm_options_set", options, name, value);
    ddpm_options changed = *options;
    bool known = false, read = false;
    ddpm_options::fields(changed, [&](const char* field, auto& member) {
      if (std::string_view(field) != name) return;
      known = true;
      read = ddpm::detail::from_text(value, member);
    });
    require(known, "ddpm_options_set: there is no option '", name, "'");
    require(read, "ddpm_options_set: '", name, "' cannot be '", value, "'");
    *options = changed;
  });
}

int ddpm_sample(const ddpm_model* model, const ddpm_options* options, int64_t count, float* images,
                size_t capacity, ddpm_progress progress, void* user) {
  return guarded([&] {
    check_not_null("ddpm_sample", model, images);
    with_model(model, [&](const auto& m) {
      SampleOptions how = options != nullptr ? options->values : ddpm_options().values;
      how.count = count;
      const auto levels = check_sampling(m.network, m.scheduler, how);
      const Shape own = m.network.sample_shape(count);
      check_room(
          "ddpm_sample",
          {count, how.height > 0 ? how.height : own[1], how.width > 0 ? how.width : own[2], own[3]},
          capacity);
      const Index batches = 1 + (count - 1) / how.batch_size;
      const Index steps = batches * (std::ssize(levels) - 1);
      Index done = 0;
      const Tensor<float> drawn =
          sample(m.network, m.scheduler, how, [&](const SampleProgress<float>&) {
            ++done;
            if (progress != nullptr && progress(done, steps, user) != 0) throw Cancelled();
          });
      std::copy(drawn.begin(), drawn.end(), images);
    });
  });
}

int ddpm_predict(const ddpm_model* model, int64_t count, int64_t height, int64_t width,
                 const float* x, const double* t, const int64_t* labels, float* y,
                 size_t capacity) {
  return guarded([&] {
    check_not_null("ddpm_predict", model, x, t, y);
    with_model(model, [&](const auto& m) {
      require(count >= 1 && height >= 1 && width >= 1, "ddpm_predict: ", count, " images of ",
              height, " x ", width);
      const auto& image = m.network.config.image;
      check_room("ddpm_predict", {count, height, width, image.output_channels()}, capacity);
      Tensor<float> input({count, height, width, image.channels});
      std::copy_n(x, input.size(), input.begin());
      const auto n = static_cast<std::size_t>(count);
      for (std::size_t i = 0; i < n; ++i)
        require(std::isfinite(t[i]) && t[i] >= 0, "ddpm_predict: timestep ", i, " is ", t[i],
                ", expected at least 0");
      const std::vector<Index> classes(labels, labels + (labels != nullptr ? n : 0));
      const NoGrad no_grad;
      const auto output = m.network(Variable<float>(input), std::span(t, n), classes).value();
      std::copy(output.begin(), output.end(), y);
    });
  });
}

int ddpm_write_grid(const char* path, const float* images, int64_t count, int64_t height,
                    int64_t width, int64_t channels, int64_t columns) {
  return guarded([&] {
    check_not_null("ddpm_write_grid", path, images);
    require(count >= 1 && height >= 1 && width >= 1 && channels >= 1, "ddpm_write_grid: ", count,
            " images of ", height, " x ", width, " x ", channels);
    Tensor<float> pictures({count, height, width, channels});
    std::copy_n(images, pictures.size(), pictures.begin());
    io::write_image_grid(path, pictures, columns);
  });
}

int ddpm_export(const ddpm_model* model, const char* path) {
  return guarded([&] {
    check_not_null("ddpm_export", model, path);
    with_model(model, [&](const auto& m) { examples::export_model(path, m); });
  });
}
