#include "ddpm/core/shape.hpp"

#include "../support.hpp"

using namespace test;

TEST_CASE("shape: size, rank and text") {
  const Shape shape{2, 3, 5, 7};
  CHECK(shape.rank() == 4);
  CHECK(shape.size() == 210);
  CHECK(shape.back() == 7);
  CHECK(message(shape) == "(2, 3, 5, 7)");
  CHECK(Shape().size() == 0);
  CHECK(Shape{0, 4}.size() == 0);
  CHECK(Shape{1, 2} != Shape{2});
}

TEST_CASE("shape: extents that are negative, too many, or overflow") {
  CHECK_THROWS_AS((Shape{1, 1, 1, 1, 1}), PreconditionError);
  CHECK(contains(error_of<PreconditionError>([] { Shape{2, -3}; }), "extent 1 is -3"));
  const Index big = Index{1} << 31;
  CHECK(Shape{big}.size() == big);
  CHECK_THROWS_AS((Shape{big, big}), PreconditionError);
  CHECK_THROWS_AS((Shape{Index{1} << 32, Index{1} << 32}), PreconditionError);
  CHECK_THROWS_AS((Shape{Index{1} << 62}), PreconditionError);
}
