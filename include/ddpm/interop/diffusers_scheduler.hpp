// The configuration of a DDPMScheduler or DDIMScheduler of diffusers, scheduler_config.json, and
// ours.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/diffusion/sample.hpp"
#include "ddpm/interop/json_fields.hpp"

namespace ddpm::DDPM_ABI::interop {

/// The noise schedule of a pipeline, and the sampler that draws with it.
struct DiffusersScheduler {
  SchedulerConfig scheduler;
  SampleOptions sampling;
};

namespace detail {

/// diffusers' thresholding without an upper limit.
inline constexpr double no_limit = 1e6;

/// diffusers' "sigmoid" is one of the betas; ours is of abar.
inline std::vector<double> sigmoid_betas(const SchedulerConfig& config) {
  std::vector<double> betas;
  for (Index t = 0; t < config.timesteps; ++t) {
    const double last = static_cast<double>(std::max<Index>(config.timesteps - 1, 1));
    const double place = -6 + 12 * static_cast<double>(t) / last;
    betas.push_back(config.beta_start +
                    (config.beta_end - config.beta_start) / (1 + std::exp(-place)));
  }
  return betas;
}

inline void read_trained_betas(JsonFields& fields, SchedulerConfig& config) {
  config.schedule = BetaSchedule::custom;
  config.betas = fields.numbers("trained_betas");
  if (static_cast<Index>(config.betas.size()) != config.timesteps)
    return fields.problem("trained_betas", "expected ", config.timesteps, " numbers");
  for (const double beta : config.betas)
    if (!(beta > 0 && beta <= 1)) return fields.problem("trained_betas", beta, " is not in (0, 1]");
}

inline void read_betas(JsonFields& fields, SchedulerConfig& config) {
  config.scale_range = false;
  config.timesteps = fields.whole("num_train_timesteps", 1000);
  config.beta_start = fields.number("beta_start", 1e-4);
  config.beta_end = fields.number("beta_end", 0.02);
  const std::string schedule = fields.text("beta_schedule", "linear");
  const bool listed = fields.has("trained_betas") && !fields.is_null("trained_betas");
  fields.ignore("trained_betas");
  const bool some = config.timesteps >= 1 && config.timesteps <= 1'000'000;
  if (!some) fields.problem("num_train_timesteps", "expected 1 to 1000000");
  const auto in_range = [](double beta) { return beta > 0 && beta < 1; };
  if (!in_range(config.beta_start)) fields.problem("beta_start", "expected (0, 1)");
  if (!in_range(config.beta_end)) fields.problem("beta_end", "expected (0, 1)");
  if (listed) {
    read_trained_betas(fields, config);
  } else if (schedule == "linear") {
    config.schedule = BetaSchedule::linear;
  } else if (schedule == "scaled_linear") {
    config.schedule = BetaSchedule::quadratic;
  } else if (schedule == "squaredcos_cap_v2") {
    config.schedule = BetaSchedule::cosine;
  } else if (schedule == "sigmoid") {
    config.schedule = BetaSchedule::custom;
    if (some) config.betas = sigmoid_betas(config);
  } else {
    fields.problem(
        "beta_schedule",
        "supported is \"linear\", \"scaled_linear\", \"squaredcos_cap_v2\" or \"sigmoid\"");
  }
}

inline void read_prediction(JsonFields& fields, SchedulerConfig& config) {
  const bool noise = fields.flag("predict_epsilon", true);  // of early versions
  const std::string prediction = fields.text("prediction_type", noise ? "epsilon" : "sample");
  if (prediction == "epsilon")
    config.prediction = Prediction::epsilon;
  else if (prediction == "sample")
    config.prediction = Prediction::x_0;
  else if (prediction == "v_prediction")
    config.prediction = Prediction::v;
  else
    fields.problem("prediction_type", "supported is \"epsilon\", \"sample\" or \"v_prediction\"");
}

inline void read_variance(JsonFields& fields, SchedulerConfig& config) {
  const std::string variance = fields.text("variance_type", "fixed_small");
  if (variance == "fixed_small" || variance == "fixed_small_log")
    config.variance = Variance::fixed_small;
  else if (variance == "fixed_large")
    config.variance = Variance::fixed_large;
  else if (variance == "learned_range")
    config.variance = Variance::learned_range;
  else
    fields.problem("variance_type",
                   "supported is \"fixed_small\", \"fixed_small_log\", \"fixed_large\" or "
                   "\"learned_range\"");
}

inline void read_clipping(JsonFields& fields, SchedulerConfig& config) {
  config.clip_sample = fields.flag("clip_sample", true);
  config.thresholding = fields.flag("thresholding", false);
  config.threshold_quantile = fields.number("dynamic_thresholding_ratio", 0.995);
  const double limit = fields.number("sample_max_value", 1);
  if (!config.thresholding) {
    if (config.clip_sample) fields.only("clip_sample_range", {1});
    return fields.ignore("clip_sample_range");
  }
  fields.ignore("clip_sample_range");
  if (!(config.threshold_quantile > 0 && config.threshold_quantile <= 1))
    fields.problem("dynamic_thresholding_ratio", "expected (0, 1]");
  if (limit == 1)  // then it clips
    config.thresholding = false, config.clip_sample = true;
  else if (!(limit >= no_limit))
    fields.problem("sample_max_value", "supported is 1, or no limit: ", no_limit, " or more");
}

/// Reads scheduler_config.json. Problems are noted.
inline DiffusersScheduler read_scheduler_config(JsonFields& fields) {
  DiffusersScheduler result;
  const bool ddim = fields.text("_class_name") == "DDIMScheduler";
  fields.only("_class_name", {"DDPMScheduler", "DDIMScheduler"});
  read_betas(fields, result.scheduler);
  read_prediction(fields, result.scheduler);
  read_variance(fields, result.scheduler);
  read_clipping(fields, result.scheduler);
  result.scheduler.zero_terminal_snr = fields.flag("rescale_betas_zero_snr", false);
  const auto spacing = value_of<Spacing>(fields.text("timestep_spacing", "leading"));
  if (!spacing || *spacing > Spacing::trailing)
    fields.problem("timestep_spacing", "supported is \"leading\", \"linspace\" or \"trailing\"");
  fields.only("steps_offset", {0});
  fields.only("set_alpha_to_one", {true});
  fields.ignore("tensor_format");  // of early versions
  result.sampling.spacing = spacing.value_or(Spacing::leading);
  result.sampling.sampler = ddim ? Sampler::ddim_unclipped : Sampler::ancestral;
  return result;
}

/// scheduler_config.json of our scheduler, a DDPMScheduler.
/// Throws PreconditionError if diffusers has no such process.
inline Json scheduler_config(const NoiseSchedule& schedule, const SchedulerConfig& config) {
  require(config.prediction != Prediction::x_prev && config.variance != Variance::learned,
          "save_diffusers: diffusers has no process with prediction ", name_of(config.prediction),
          " and variance ", name_of(config.variance));
  Json result{{"_class_name", "DDPMScheduler"},
              {"num_train_timesteps", config.timesteps},
              {"beta_start", config.beta_start},
              {"beta_end", config.beta_end}};
  const bool as_given = !config.scale_range || config.timesteps == 1000;
  if (config.schedule == BetaSchedule::linear && as_given)
    result["beta_schedule"] = "linear";
  else if (config.schedule == BetaSchedule::quadratic && as_given)
    result["beta_schedule"] = "scaled_linear";
  else if (config.schedule == BetaSchedule::cosine)
    result["beta_schedule"] = "squaredcos_cap_v2";
  else
    result["trained_betas"] = schedule.betas();
  const bool listed = result.contains("trained_betas");  // as they are in the end
  result.update({{"rescale_betas_zero_snr", config.zero_terminal_snr && !listed},
                 {"variance_type", std::string(name_of(config.variance))},
                 {"clip_sample", config.clip_sample},
                 {"clip_sample_range", 1.0},
                 {"prediction_type", config.prediction == Prediction::epsilon ? "epsilon"
                                     : config.prediction == Prediction::v     ? "v_prediction"
                                                                              : "sample"},
                 {"thresholding", config.thresholding},
                 {"dynamic_thresholding_ratio", config.threshold_quantile},
                 {"sample_max_value", config.thresholding ? no_limit : 1.0},
                 {"timestep_spacing", "leading"},
                 {"steps_offset", 0}});
  return result;
}

}  // namespace detail

}  // namespace ddpm::DDPM_ABI::interop
