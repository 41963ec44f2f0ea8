// The table of the samplers. The enum, its names, the choice of the solver, the programs' help and
// the table in docs/samplers.md (which a test compares) all come from it; a new sampler is a row.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/enum_names.hpp"
#include "ddpm/diffusion/samplers/ancestral.hpp"
#include "ddpm/diffusion/samplers/ddim.hpp"
#include "ddpm/diffusion/samplers/dpm_solver.hpp"
#include "ddpm/diffusion/samplers/euler.hpp"
#include "ddpm/diffusion/samplers/pndm.hpp"
#include "ddpm/diffusion/samplers/unipc.hpp"

// ROW(name, solver, source, order after the start, evaluations of the network a step, fresh noise);
// the solver expression may use T and eta.
#define DDPM_SAMPLERS(ROW)                                                                        \
  ROW(ancestral, Ancestral<T>(), "Ho et al. 2020, algorithm 2", "", "1", "fresh")                 \
  ROW(ddim, Ddim<T>({.eta = eta, .clip_noise = true}), "Song et al. 2021, equations 12, 16", "1", \
      "1", "with `eta` > 0")                                                                      \
  ROW(ddim_unclipped, Ddim<T>({.eta = eta}),                                                      \
      "the same, noise as the network told it where x_0 was clipped, as in diffusers", "1", "1",  \
      "with `eta` > 0")                                                                           \
  ROW(euler, Euler<T>(), "Karras et al. 2022", "1", "1", "")                                      \
  ROW(euler_ancestral, EulerAncestral<T>(), "the same, and fresh noise", "", "1", "fresh")        \
  ROW(heun, Heun<T>(), "Karras et al. 2022, algorithm 1", "2", "2", "")                           \
  ROW(dpm_solver_2m, DpmSolverMultistep<T>({.order = 2}), "Lu et al. 2022, DPM-Solver++", "2",    \
      "1", "")                                                                                    \
  ROW(dpm_solver_3m, DpmSolverMultistep<T>({.order = 3}), "the same", "3", "1", "")               \
  ROW(dpm_solver_2s, DpmSolverSinglestep<T>(), "the same, single-step, steps in pairs", "2", "1", \
      "")                                                                                         \
  ROW(dpm_solver_sde, DpmSolverMultistep<T>({.order = 2, .sde = true}), "the same, 2M", "", "1",  \
      "fresh")                                                                                    \
  ROW(unipc, UniPc<T>(), "Zhao et al. 2023, order 2", "3, with its corrector", "1", "")           \
  ROW(pndm, Pndm<T>(), "Liu et al. 2022", "2", "1, the first three 4", "")

namespace ddpm::DDPM_ABI {

/// The samplers by name; docs/samplers.md tells which to choose.
#define DDPM_ROW(name, ...) name,
enum class Sampler { DDPM_SAMPLERS(DDPM_ROW) };
#undef DDPM_ROW

#define DDPM_ROW(name, ...) #name,
template <>
inline constexpr std::array enum_names<Sampler> =
    std::to_array<std::string_view>({DDPM_SAMPLERS(DDPM_ROW)});
#undef DDPM_ROW

/// What the documents say of a sampler.
struct SamplerFacts {
  const char *source, *order, *evaluations, *noise;
};

inline SamplerFacts facts_of(Sampler sampler) {
#define DDPM_ROW(name, solver, source, order, evaluations, noise) \
  {source, order, evaluations, noise},
  static constexpr SamplerFacts facts[] = {DDPM_SAMPLERS(DDPM_ROW)};
#undef DDPM_ROW
  return facts[static_cast<std::size_t>(sampler)];
}

/// Calls f with a new solver of that kind; eta is that of ddim.
/// Throws PreconditionError as the solver's constructor does.
template <class T, class F>
auto with_solver(Sampler sampler, double eta, const F& f) {
#define DDPM_ROW(name, solver, ...) \
  case Sampler::name: return f(solver);
  switch (sampler) { DDPM_SAMPLERS(DDPM_ROW) }
#undef DDPM_ROW
  throw PreconditionError("sample: no such sampler");
}

}  // namespace ddpm::DDPM_ABI

#undef DDPM_SAMPLERS
