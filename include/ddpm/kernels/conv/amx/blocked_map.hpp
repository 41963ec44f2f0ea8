// Maps in bfloat16, laid out for AMX (product/amx.hpp): blocks of 32 channels, a cache line a
// pixel.
//
//   (C / 32, positions, 16 pairs)
//
// Rows of pixels follow each other with a border of zeros between them, and so do images, so that a
// tap of a kernel lies equally far from every pixel: 16 pixels of a tap are 16 lines in a row, and
// there are no pointers and no copies. Where a row is shorter than a tile, the pixels of some
// images alternate, so that no tile holds a piece of the border.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/column_sums.hpp"
#include "ddpm/kernels/conv/amx/tile_weights.hpp"
#include "ddpm/kernels/conv/geometry.hpp"

#ifdef DDPM_AMX

namespace ddpm::DDPM_ABI::kernels::amx {

/// The most tiles of positions whose sums are computed at once. (Two are left for the operands.)
inline constexpr Index tile_group = 6, position_group = tile_group * side;

/// Where the pixels of a window lie; for windows of stride 1, see can_turn().
///
/// Output (n, oh, ow) has the position ((n / images rows + oh) pitch + ow) images + n % images, and
/// sees through tap (kh, kw) what is stored (kh pitch + kw) images further on.
struct PaddedLayout {
  Index N, H, W, OH, OW, rows, pitch;
  Index images;  ///< that alternate
  Index before, behind;

  explicit PaddedLayout(const Window& g)
      : N(g.N),
        H(g.H),
        W(g.W),
        OH(g.OH),
        OW(g.OW),
        rows(g.H + std::max(g.padding.top, g.padding.bottom)),
        pitch(g.W + std::max(g.padding.left, g.padding.right)),
        images(alternating()),
        before((g.padding.top * pitch + g.padding.left) * images),
        behind(((g.KH - 1) * pitch + g.KW - 1) * images) {}

  Index positions() const { return N * rows * pitch; }
  /// Lines of a block: all positions, a tile and a chunk that have begun, and what they see.
  Index lines() const { return positions() + position_group + behind; }
  /// The line of pixel (0, h) of image n; the next pixel's is `images` further on.
  Index line(Index n, Index h) const { return before + place(n, h); }

  bool same_positions(const PaddedLayout& o) const {
    return N == o.N && rows == o.rows && pitch == o.pitch && images == o.images;
  }

 private:
  bool bordered() const { return rows > OH || pitch > OW; }
  Index place(Index n, Index h) const {
    return (n / images * rows + h) * pitch * images + n % images;
  }
  /// So many that a row is of whole tiles, best of pairs of tiles, as weight gradients take them.
  Index alternating() const {
    for (const Index size : {2 * side, side})
      for (Index together = 1; bordered() && together <= side; together *= 2)
        if (OW * together % size == 0 && N % together == 0) return together;
    return 1;
  }
};

/// Steps through tiles of `size` positions, which together hold all pixels of y: without the border
/// if rows are of whole tiles. `size` is a multiple of `images`.
class TileWalk {
 public:
  TileWalk(const PaddedLayout& at, Index size)
      : at_(at), skips_border_(at.OW * at.images % size == 0), step_(size / at.images) {}

  Index tiles() const { return (at_.N / at_.images * rows() * width() + step_ - 1) / step_; }
  /// Goes to that tile.
  void start(Index tile) {
    const Index pixel = tile * step_;
    n_ = pixel / (width() * rows());
    h_ = pixel / width() % rows();
    w_ = pixel % width();
  }
  /// Of the next pixel.
  Index position() const { return ((n_ * at_.rows + h_) * at_.pitch + w_) * at_.images; }

  /// Calls f(pixels, n, h, w) for what the tile holds of each row, and steps behind it.
  template <class F>
  void for_each_part(const F& f) {
    for (Index left = step_; left > 0;) {
      const Index here = std::min(left, width() - w_);
      f(here, n_, h_, w_);
      left -= here;
      w_ += here;
      if (w_ < width()) return;
      w_ = 0;
      if (++h_ == rows()) h_ = 0, ++n_;
    }
  }
  void next() {
    for_each_part([](Index, Index, Index, Index) {});
  }

 private:
  Index width() const { return skips_border_ ? at_.OW : at_.pitch; }
  Index rows() const { return skips_border_ ? at_.OH : at_.rows; }

  const PaddedLayout& at_;
  bool skips_border_;
  Index step_;  ///< pixels
  Index n_ = 0, h_ = 0, w_ = 0;
};

/// The channels of a map as AMX reads them. Copies alias.
class BlockedMap {
 public:
  BlockedMap() : layout_({}), blocks_(0) {}

  /// Only the border is written.
  BlockedMap(const Window& g, Index channels)
      : layout_(g),
        blocks_((channels + block_channels - 1) / block_channels),
        pairs_({blocks_, layout_.lines(), side}) {
    parallel_for(blocks_, [&](Index block) { clear_border(block); });
  }

  /// x (N, H, W, C), rounded. Writes its sums over pixels, before rounding, to sums (C), which may
  /// be empty.
  BlockedMap(const Window& g, View<const float> x, View<float> sums = {})
      : BlockedMap(g, x.shape.back()) {
    const MapExtent map = g.input();
    const Index C = x.shape.back(), wanted = 8192;  // a task's values
    const Index together = std::max<Index>(1, wanted / std::max<Index>(1, g.W * C)),
                rows = g.N * g.H, tasks = (rows + together - 1) / together;
    Scratch<float> parts(sums.empty() ? 0 : tasks * C, 0.0F);
    parallel_for(tasks, [&](Index task) {
      for (Index row = task * together; row < std::min(rows, (task + 1) * together); ++row) {
        const Index n = row / g.H, h = row % g.H, line = layout_.line(n, h);
        for (Index w = 0; w < g.W; ++w) {
          const float* values = x.data + map.stored_pixel(n, h, w) * C;
          round_pixel(values, C, line + w * layout_.images);
          if (!sums.empty()) add_values(values, C, parts.data() + task * C);
        }
      }
    });
    if (!sums.empty()) kernels::detail::sum_rows<float>(parts.data(), tasks, C, sums.data);
  }

  const PaddedLayout& layout() const { return layout_; }
  Index blocks() const { return blocks_; }
  Bfloat16Pair* line(Index block, Index line) const {
    return pairs_.data() + (block * layout_.lines() + line) * side;
  }

 private:
  void clear_border(Index block) const {
    const auto clear = [&](Index first, Index last) {
      std::fill(line(block, first), line(block, last), Bfloat16Pair{});
    };
    const PaddedLayout& at = layout_;
    clear(0, at.before);
    for (Index n = 0; n < at.N; n += at.images) {
      for (Index h = 0; h < at.H && at.W < at.pitch; ++h)
        clear(at.line(n, h) + at.W * at.images, at.line(n, h + 1));
      clear(at.line(n, at.H), at.line(n + at.images, 0));
    }
    clear(at.line(at.N, 0), at.lines());
  }

  void round_pixel(const float* values, Index C, Index at) const {
    for (Index block = 0; block < blocks_; ++block, values += block_channels, C -= block_channels)
      simd::store(line(block, at), simd::neighbour_pairs(values, std::min(C, block_channels)));
  }

  static void add_values(const float* values, Index C, float* sums) {
    simd::map([](auto sum, auto value) { return sum + value; }, C, sums, sums, values);
  }

  PaddedLayout layout_;
  Index blocks_;
  Tensor<Bfloat16Pair> pairs_;
};

/// Where the values of a pair come from: of the lower or upper half of two lines.
inline simd::PairPack half_places(Index half) {
  alignas(64) static constexpr auto places = [] {
    std::array<std::array<std::uint16_t, 32>, 2> result{};
    for (std::uint16_t h = 0; h < 2; ++h)
      for (std::uint16_t c = 0; c < 16; ++c) {
        result[h][std::size_t{2} * c] = static_cast<std::uint16_t>(16 * h + c);
        result[h][std::size_t{2} * c + 1] = static_cast<std::uint16_t>(32 + 16 * h + c);
      }
    return result;
  }();
  return _mm512_load_si512(places[static_cast<std::size_t>(half)].data());
}

/// Two positions' values of 16 channels, a half of their lines, as pairs.
inline simd::PairPack pair_lines(const simd::PairPack& first, const simd::PairPack& second,
                                 const simd::PairPack& places) {
  return _mm512_permutex2var_epi16(first, places, second);
}
inline simd::PairPack pair_lines(const Bfloat16Pair* first, const Bfloat16Pair* second,
                                 Index half) {
  return pair_lines(simd::load(first), simd::load(second), half_places(half));
}

/// How many lines further on than a position what its taps see is stored.
struct Taps {
  Index count = 0;
  Index lines[max_conv_taps];

  explicit Taps(const Window& g) : count(g.taps()) {
    const PaddedLayout at(g);
    for (Index tap = 0; tap < count; ++tap)
      lines[tap] = (tap / g.KW * at.pitch + tap % g.KW) * at.images;
  }
  /// Each pixel of the map sees only itself.
  explicit Taps(const BlockedMap& map) : count(1), lines{map.layout().before} {}
};

}  // namespace ddpm::DDPM_ABI::kernels::amx

#endif
