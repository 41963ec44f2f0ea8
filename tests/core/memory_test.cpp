#include "ddpm/core/memory.hpp"

#include "../support.hpp"

using namespace test;

TEST_CASE("memory: size classes hold what was asked for and waste at most an eighth") {
  using namespace ddpm::memory::detail;
  std::size_t before = 0;
  for (std::size_t bytes = 1; bytes < 3'000'000; bytes += 1 + bytes / 100) {
    const std::size_t size_class = class_of(bytes);
    CHECK(class_bytes(size_class) >= bytes);
    CHECK(class_bytes(size_class) <= std::max<std::size_t>(bytes + 63, bytes + bytes / 8 + 64));
    CHECK(size_class >= before);
    before = size_class;
  }
}

TEST_CASE("memory: freed blocks are handed out again") {
  memory::release(memory::allocate(12345));
  const auto before = memory::statistics();
  for (int i = 0; i < 100; ++i) memory::release(memory::allocate(12345));
  const auto after = memory::statistics();
  CHECK(after.system_allocations == before.system_allocations);
  CHECK(after.bytes_in_use == before.bytes_in_use);
}

TEST_CASE("memory: trim gives free blocks back") {
  memory::release(memory::allocate(1 << 20));
  CHECK(memory::statistics().bytes_cached >= (1 << 20));
  memory::trim();
  CHECK(memory::statistics().bytes_cached == 0);
  const Tensor<float> x({100}, 2.0F);  // works afterwards
  CHECK(x[99] == 2.0F);
}

TEST_CASE("memory: impossible sizes throw bad_alloc") {
  CHECK_THROWS_AS(memory::allocate(std::numeric_limits<std::size_t>::max() - 10), std::bad_alloc);
}
