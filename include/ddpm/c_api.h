/* Drawing pictures from C, and from every language that calls C: a trained network, samples into
 * the caller's memory, progress and cancelling, errors as codes and text.
 *
 * The functions are those of a small library that examples/c_api builds (CMake target ddpm_c,
 * libddpm_c.so); examples/c_api/draw.py calls it from Python. Images are float32 (count, height,
 * width, channels), in about [-1, 1]. No function throws, none keeps a pointer that it was given.
 * A model may be used by several threads at once; options by one at a time. Models are never null,
 * where it is not said that they may be.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DDPM_C_API_H
#define DDPM_C_API_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define DDPM_C_API __attribute__((visibility("default")))
#else
#define DDPM_C_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What a function came to; ddpm_error_text() says more. */
enum {
  DDPM_OK = 0,
  DDPM_CANCELLED = 1,   /* the progress function asked for it */
  DDPM_ARGUMENT = 2,    /* an argument or option is out of range */
  DDPM_FILE = 3,        /* a file cannot be read or written, or is damaged */
  DDPM_NOT_FINITE = 4,  /* the network gave values that are not finite */
  DDPM_MEMORY = 5,      /* not enough of it */
  DDPM_OTHER = 6
};

typedef struct ddpm_model ddpm_model;     /* a network, and the process it was trained with */
typedef struct ddpm_options ddpm_options; /* how samples are drawn */

/* Called after each step, on the thread that draws: `done` steps of `steps` are made, both over all
 * batches. Anything but 0 cancels. */
typedef int (*ddpm_progress)(int64_t done, int64_t steps, void* user);

/* Version of the library, "0.1.0". */
DDPM_C_API const char* ddpm_version(void);

/* What went wrong in this thread's last call that did not return DDPM_OK; "" before the first. The
 * text stays until this thread's next such call. */
DDPM_C_API const char* ddpm_error_text(void);

/* Sets how many threads work; 0: as many as processors. Not while another function runs. */
DDPM_C_API int ddpm_set_threads(int threads);
DDPM_C_API int ddpm_threads(void); /* 0 if they cannot be started */

/* Loads model.safetensors, a run state, a run's folder, or a folder of diffusers. On error *model
 * is null. */
DDPM_C_API int ddpm_load(const char* path, ddpm_model** model);
DDPM_C_API void ddpm_free(ddpm_model* model); /* null is allowed */

/* Of the images that the network is made for. */
DDPM_C_API int64_t ddpm_height(const ddpm_model* model);
DDPM_C_API int64_t ddpm_width(const ddpm_model* model);
DDPM_C_API int64_t ddpm_channels(const ddpm_model* model);

DDPM_C_API int64_t ddpm_classes(const ddpm_model* model);   /* 0: it knows none */
DDPM_C_API int64_t ddpm_timesteps(const ddpm_model* model); /* of its process */
DDPM_C_API int64_t ddpm_parameters(const ddpm_model* model);

/* The defaults: dpm_solver_2m with 20 steps, seed 0. Null if there is no memory. */
DDPM_C_API ddpm_options* ddpm_options_new(void);
DDPM_C_API void ddpm_options_free(ddpm_options* options); /* null is allowed */

/* Sets an option, both as text:
 *   seed, first      sample i follows from seed and first + i
 *   batch_size       samples at once, which changes none of them
 *   height, width    pixels; 0: the network's
 *   sampler, steps, spacing, final, eta, noise, precision    as in SampleOptions of the library
 *   labels           classes in turn, "0,1,2"; "" for none;  guidance
 * A name that there is not, or a value that cannot be read, gives DDPM_ARGUMENT and changes nothing;
 * ranges are looked at by ddpm_sample(). */
DDPM_C_API int ddpm_options_set(ddpm_options* options, const char* name, const char* value);

/* Draws `count` images into `images`, which has room for `capacity` floats. Options may be null.
 * Progress may be null. If it does not return DDPM_OK, images are as they were. */
DDPM_C_API int ddpm_sample(const ddpm_model* model, const ddpm_options* options, int64_t count, float* images,
                size_t capacity, ddpm_progress progress, void* user);

/* What the network predicts for `count` images x of height x width pixels at timesteps t, each at
 * least 0, for samplers of your own. `labels` may be null. y has room for `capacity` floats: those of x, or
 * twice as many where the network tells its variance. */
DDPM_C_API int ddpm_predict(const ddpm_model* model, int64_t count, int64_t height, int64_t width,
                 const float* x, const double* t, const int64_t* labels, float* y,
                 size_t capacity);

/* Writes images as a PNG, in rows of `columns`; 0: nearly a square. */
DDPM_C_API int ddpm_write_grid(const char* path, const float* images, int64_t count, int64_t height,
                    int64_t width, int64_t channels, int64_t columns);

/* Writes the network as an ONNX file, if the path ends in .onnx, else as a folder of diffusers. */
DDPM_C_API int ddpm_export(const ddpm_model* model, const char* path);

#ifdef __cplusplus
}
#endif

#endif
