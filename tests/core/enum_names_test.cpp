#include "ddpm/core/enum_names.hpp"

#include "../support.hpp"
#include "ddpm/diffusion/sample.hpp"
#include "ddpm/train/trainer.hpp"

using namespace test;

namespace {

template <class E>
void check_round_trip() {
  for (std::size_t i = 0; i < enum_names<E>.size(); ++i) {
    const E value = static_cast<E>(i);
    CHECK(value_of<E>(name_of(value)) == value);
    for (std::size_t k = 0; k < i; ++k) CHECK(enum_names<E>[k] != enum_names<E>[i]);
  }
  CHECK_FALSE(value_of<E>("no such name").has_value());
  CHECK_FALSE(value_of<E>("").has_value());
}

}  // namespace

TEST_CASE("enum names: every value has one, and is found by it") {
  check_round_trip<BetaSchedule>();
  check_round_trip<Prediction>();
  check_round_trip<Variance>();
  check_round_trip<Spacing>();
  check_round_trip<FinalLevel>();
  check_round_trip<Sampler>();
  check_round_trip<Loss>();
  check_round_trip<TimestepSampling>();
  check_round_trip<optim::Decay>();
  CHECK(list_of_names<optim::Decay>() == "none, cosine");
}

TEST_CASE("enum names: those in files are fixed") {
  CHECK(name_of(Variance::learned_range) == "learned_range");
  CHECK(name_of(Prediction::x_prev) == "x_prev");
  CHECK(name_of(BetaSchedule::custom) == "custom");
  CHECK(name_of(Sampler::dpm_solver_sde) == "dpm_solver_sde");
}

TEST_CASE("enum names: the compiler tells a value from a number past the end") {
  enum class Colour { red, green };
  CHECK(detail::is_enumerator<Colour::green>());
  CHECK_FALSE(detail::is_enumerator<static_cast<Colour>(2)>());
}
