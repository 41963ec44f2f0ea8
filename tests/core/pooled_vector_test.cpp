#include "ddpm/core/pooled_vector.hpp"

#include "../support.hpp"

using namespace test;

namespace {

int alive = 0;

/// Counts those that live, and notes whether one was moved from.
struct Counted {
  int value;
  explicit Counted(int own = 0) : value(own) { ++alive; }
  Counted(const Counted& other) : value(other.value) { ++alive; }
  Counted(Counted&& other) noexcept : value(std::exchange(other.value, -1)) { ++alive; }
  Counted& operator=(const Counted&) = default;
  ~Counted() { --alive; }
  explicit operator int() const { return value; }
};

template <class A, class B>
void check_same(const A& a, const B& b) {
  REQUIRE(a.size() == b.size());
  CHECK(a.empty() == b.empty());
  for (std::size_t i = 0; i < b.size(); ++i) REQUIRE(int(a[i]) == int(b[i]));
  if (!b.empty()) CHECK(int(a.back()) == int(b.back()));
  CHECK(a.end() - a.begin() == std::ssize(b));
}

}  // namespace

TEST_CASE_TEMPLATE("PooledVector: what std::vector does, over random calls", T, int, Counted) {
  {
    Rng rng(7);
    PooledVector<T> own;
    std::vector<T> expected;
    for (int call = 0; call < 3000; ++call) {
      const int number = int(rng.uniform() * 1000), what = int(rng.uniform() * 40);
      if (what < 24) {
        own.push_back(T(number));
        expected.push_back(T(number));
      } else if (what < 34 && !expected.empty()) {
        own.pop_back();
        expected.pop_back();
      } else if (what == 34) {
        own.assign(std::size_t(number % 40), T(number));
        expected.assign(std::size_t(number % 40), T(number));
      } else if (what == 35) {
        const std::vector<T> more(std::size_t(number % 50), T(number));
        own.append(more.begin(), more.end());
        expected.insert(expected.end(), more.begin(), more.end());
      } else if (what == 36) {
        const PooledVector<T> copy = own;
        if (!expected.empty()) own[0] = T(-5);
        check_same(copy, expected);
        own = copy;
      } else if (what == 37) {
        PooledVector<T> taken = std::move(own);
        own = std::move(taken);
      } else if (what == 38 && number < 100) {
        own.clear();
        expected.clear();
      } else {
        own.reserve(std::size_t(number));
      }
      check_same(own, expected);
    }
  }
  CHECK(alive == 0);
}

TEST_CASE("PooledVector: made from a size, a list, a range") {
  check_same(PooledVector<int>(3, 4), std::vector<int>{4, 4, 4});
  check_same(PooledVector<int>{3, 4}, std::vector<int>{3, 4});
  const std::vector<short> from{1, 2, 3};
  check_same(PooledVector<int>(from.begin(), from.end()), from);
  check_same(PooledVector<int>(from.begin(), from.begin()), std::vector<int>{});
}

TEST_CASE("PooledVector: its memory is recycled, and too much of it is refused") {
  const auto fill = [] {
    PooledVector<double> values;
    for (int i = 0; i < 1000; ++i) values.push_back(i);
  };
  fill();
  const auto before = memory::statistics();
  fill();
  CHECK(memory::statistics().system_allocations == before.system_allocations);
  CHECK(memory::statistics().bytes_in_use == before.bytes_in_use);
  PooledVector<double> values{1, 2};
  CHECK_THROWS_AS(values.reserve(std::size_t{1} << 62), std::bad_alloc);
  CHECK_THROWS_AS(values.reserve(std::size_t{1} << 60), std::bad_alloc);
  check_same(values, std::vector<double>{1, 2});
}
