/* The C interface, from C: c_api FOLDER_OF_DIFFUSERS. Exit status 1 and a line if something is not
 * as the header says. */
#include <ddpm/c_api.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                      \
  do {                                                                        \
    if (!(condition)) {                                                       \
      fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #condition, ddpm_error_text()); \
      exit(1);                                                                \
    }                                                                         \
  } while (0)

enum { count = 3, values = count * 8 * 8 * 3 };

static int count_steps(int64_t done, int64_t steps, void* user) {
  int64_t* seen = user;
  CHECK(done == *seen + 1 && steps == 14);
  *seen = done;
  return 0;
}

static int cancel_at_two(int64_t done, int64_t steps, void* user) {
  (void)steps;
  (void)user;
  return done == 2;
}

static void check_errors(const ddpm_model* model, ddpm_options* options) {
  ddpm_model* none = NULL;
  float image[values];
  CHECK(ddpm_load("no/such/file", &none) == DDPM_FILE && none == NULL);
  CHECK(strstr(ddpm_error_text(), "no/such/file") != NULL);
  CHECK(ddpm_load(NULL, &none) == DDPM_ARGUMENT);
  CHECK(ddpm_options_set(options, "steps", "many") == DDPM_ARGUMENT);
  CHECK(strstr(ddpm_error_text(), "'steps' cannot be 'many'") != NULL);
  CHECK(ddpm_options_set(options, "flux", "1") == DDPM_ARGUMENT);
  CHECK(ddpm_options_set(options, "eta", "") == DDPM_ARGUMENT);
  CHECK(ddpm_sample(model, options, count, image, values - 1, NULL, NULL) == DDPM_ARGUMENT);
  CHECK(ddpm_sample(model, options, 0, image, values, NULL, NULL) == DDPM_ARGUMENT);
  CHECK(ddpm_sample(model, options, INT64_MAX, image, values, NULL, NULL) == DDPM_ARGUMENT);
  CHECK(ddpm_set_threads(-1) == DDPM_ARGUMENT);
  CHECK(ddpm_write_grid("/no/such/folder/grid.png", image, 0, 8, 8, 3, 0) == DDPM_ARGUMENT);
  CHECK(ddpm_export(model, "/dev/null/network.onnx") == DDPM_FILE);
}

int main(int arguments, char** argument) {
  ddpm_model* model = NULL;
  ddpm_options* options = ddpm_options_new();
  float a[values], b[values], y[values];
  const double t[count] = {0, 500, 999};
  int64_t steps = 0;
  int i, same = 0;
  CHECK(arguments == 2 && options != NULL && strlen(ddpm_version()) >= 5);
  CHECK(ddpm_load(argument[1], &model) == DDPM_OK);
  CHECK(ddpm_height(model) == 8 && ddpm_width(model) == 8 && ddpm_channels(model) == 3);
  CHECK(ddpm_classes(model) == 0 && ddpm_timesteps(model) == 1000 && ddpm_parameters(model) > 1000);
  CHECK(ddpm_options_set(options, "sampler", "ancestral") == DDPM_OK);
  CHECK(ddpm_options_set(options, "steps", "7") == DDPM_OK);
  CHECK(ddpm_options_set(options, "batch_size", "2") == DDPM_OK);
  CHECK(ddpm_options_set(options, "seed", "18446744073709551615") == DDPM_OK);
  CHECK(ddpm_options_set(options, "labels", "") == DDPM_OK);
  CHECK(ddpm_sample(model, options, count, a, values, count_steps, &steps) == DDPM_OK);
  CHECK(steps == 14);
  check_errors(model, options);
  CHECK(ddpm_set_threads(1) == DDPM_OK && ddpm_threads() == 1);
  CHECK(ddpm_sample(model, options, count, b, values, NULL, NULL) == DDPM_OK);
  CHECK(memcmp(a, b, sizeof a) == 0); /* the same bits, with one thread too */
  CHECK(ddpm_options_set(options, "seed", "2") == DDPM_OK);
  CHECK(ddpm_sample(model, options, count, b, values, cancel_at_two, NULL) == DDPM_CANCELLED);
  CHECK(memcmp(a, b, sizeof a) == 0); /* as they were */
  CHECK(ddpm_predict(model, count, 8, 8, a, t, NULL, y, values) == DDPM_OK);
  for (i = 0; i < values; ++i) {
    CHECK(isfinite(y[i]));
    same += y[i] == a[i];
  }
  CHECK(same < values / 2);
  CHECK(ddpm_predict(model, count, 8, 8, a, t, NULL, y, values - 1) == DDPM_ARGUMENT);
  CHECK(ddpm_sample(model, NULL, 1, b, values, NULL, NULL) == DDPM_OK);
  ddpm_options_free(options);
  ddpm_options_free(NULL);
  ddpm_free(model);
  ddpm_free(NULL);
  return 0;
}
