#include "ddpm/data/loader.hpp"

#include "../support.hpp"

using namespace test;

TEST_CASE("loader: every image once an epoch, the same order for the same seed") {
  Tensor<float> images({10, 1, 2, 1});
  for (Index i = 0; i < 20; ++i) images[i] = float(i);
  data::Loader<float> loader(images, {.batch_size = 4, .seed = 1});
  std::vector<float> drawn;
  for (int i = 0; i < 5; ++i) {
    const auto batch = loader.next();
    for (Index n = 0; n < 4; ++n) drawn.push_back(batch.images[2 * n] / 2);
  }
  CHECK(loader.drawn() == 20);
  std::vector<float> first(drawn.begin(), drawn.begin() + 10),
      second(drawn.begin() + 10, drawn.end());
  CHECK(first != second);
  for (auto* epoch : {&first, &second}) {
    std::sort(epoch->begin(), epoch->end());
    for (std::size_t i = 0; i < 10; ++i) CHECK((*epoch)[i] == float(i));
  }
  data::Loader<float> later(images, {.batch_size = 4, .seed = 1, .drawn = 12});
  CHECK(later.next().images[0] / 2 == drawn[12]);
  data::Loader<float> other(images, {.batch_size = 10, .seed = 2});
  const auto batch = other.next().images;
  bool differs = false;
  for (std::size_t n = 0; n < 10; ++n) differs |= batch[Index(2 * n)] / 2 != drawn[n];
  CHECK(differs);
}

TEST_CASE("loader: flips mirror about half of the images") {
  const Tensor<float> images({1, 1, 2, 1}, {0, 1});
  data::Loader<float> loader(images, {.batch_size = 1000, .seed = 1, .horizontal_flip = true});
  const auto batch = loader.next().images;
  Index flipped = 0;
  for (Index n = 0; n < 1000; ++n) {
    CHECK(batch[2 * n] + batch[2 * n + 1] == 1);
    flipped += batch[2 * n] == 1;
  }
  CHECK((flipped > 420 && flipped < 580));
  CHECK_THROWS_AS(data::Loader<float>(Tensor<float>({0, 2, 2, 1}), {}), PreconditionError);
  CHECK_THROWS_AS(data::Loader<float>(images, {.batch_size = 0}), PreconditionError);
}

TEST_CASE("loader: labels go with their images") {
  data::LabelledImages<float> set{Tensor<float>({5, 1, 2, 1}), {0, 10, 20, 30, 40}};
  for (Index i = 0; i < 10; ++i) set.images[i] = float(i / 2);
  data::Loader<float> loader(set, {.batch_size = 7, .seed = 1});
  const auto batch = loader.next();
  REQUIRE(batch.labels.size() == 7);
  for (Index n = 0; n < 7; ++n)
    CHECK(batch.labels[std::size_t(n)] == Index(10 * batch.images[2 * n]));
  data::Loader<float> without(set.images, {.batch_size = 7, .seed = 1});
  const auto same = without.next();
  CHECK(same.labels.empty());
  CHECK(same_bits(same.images, batch.images));
  set.labels.pop_back();
  CHECK(contains(error_of<PreconditionError>([&] { data::Loader<float>(set, {}); }),
                 "4 labels for 5 images"));
}

TEST_CASE("loader: shares of the batches are together all of them") {
  const auto images = random_tensor<float>({7, 2, 2, 1}, 1);
  for (const Index batches : {1, 2, 3, 5}) {
    data::Loader<float> all(images, {.batch_size = 3, .seed = 4, .drawn = 6});
    std::vector<Tensor<float>> expected;
    for (Index i = 0; i < 4 * batches; ++i) expected.push_back(all.next().images);
    for (Index own = 1; own <= batches; ++own)
      for (Index first = 0; first + own <= batches; ++first) {
        data::Loader<float> some(images, {.batch_size = 3,
                                          .seed = 4,
                                          .drawn = 6,
                                          .batches = batches,
                                          .first_batch = first,
                                          .own_batches = own});
        for (Index round = 0; round < 4; ++round)
          for (Index i = first; i < first + own; ++i) {
            const Index number = round * batches + i;
            CHECK(some.drawn() == 6 + 3 * number);
            CHECK(same_bits(some.next().images, expected[static_cast<std::size_t>(number)]));
          }
      }
  }
  CHECK_THROWS_AS(data::Loader<float>(images, {.batches = 2, .first_batch = 1, .own_batches = 2}),
                  PreconditionError);
}
