// One task of a Winograd convolution: the products of a panel of output channels for some tiles.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/conv/winograd/filters.hpp"

namespace ddpm::DDPM_ABI::kernels::winograd {

inline constexpr int tail_rows = tile_rows / 2;  ///< for the last tiles of a task

/// What is prefetched a little at a time. Equal portions, so that the processor foresees the loop.
class Ahead {
 public:
  Ahead(Index first, Index last, Index calls)
      : next_(first), last_(last), each_((last - first + calls - 1) / calls) {}

  template <class F>
  void prefetch_some(const F& prefetch) {
    for (Index n = 0; n < each_ && next_ < last_; ++n) prefetch(next_++);
  }

 private:
  Index next_, last_, each_;
};

/// The weights of a task's panel, which do not depend on its tiles.
template <class U, class S>
class PanelWeights {
 public:
  using T = Sum<U>;
  static constexpr Index width = panel_width<U, packs>, gap = Planes<U>::gap;
  static constexpr Index v_plane = S::task_units * width + gap, v_size = products * v_plane;

  PanelWeights(Index C_in, const Filters<T>& w) : C_in_(C_in), w_(w) {}

  Index chunks() const { return (units<U>(C_in_) + S::task_units - 1) / S::task_units; }
  Index units_of(Index chunk) const {
    return std::min(S::task_units, units<U>(C_in_) - chunk * S::task_units);
  }

  /// Writes v, 36 planes (units, width) of one panel and chunk.
  void transform_weights(Index panel, Index chunk, U* v) const {
    constexpr Index terms = terms_of_unit<U>;
    const Index valid = std::min(width, w_.columns - panel * width);
    for (Index k = 0; k < units_of(chunk); ++k, v += width) {
      const Index term = (chunk * S::task_units + k) * terms;
      const T* w = w_.data + panel * w_.panel + term * w_.term;
      for (Index next = term + S::filters_ahead;
           next < std::min(term + S::filters_ahead + terms, C_in_); ++next)
        for (int tap = 0; tap < taps * taps; ++tap)
          prefetch_panel<T, packs>(w + (next - term) * w_.term + tap * w_.tap);
      for (Index at = 0; at < width; at += simd::width<T>, w += simd::width<T>) {
        const Index count = std::clamp<Index>(valid - at, 0, simd::width<T>);
        if constexpr (terms == 1) {
          transform_filter(w, count, [&](int i, const simd::Pack<T>& value) {
            simd::store(v + i * v_plane + at, value);
          });
        } else {
          simd::Pack<T> values[2][products] = {};
          transform_filter_to(values[0], w, count);
          if (term + 1 < C_in_) transform_filter_to(values[1], w + w_.term, count);
          for (int i = 0; i < products; ++i)
            simd::store(v + i * v_plane + at, simd::pair(values[0][i], values[1][i]));
        }
      }
    }
  }

 protected:
  Index C_in_;
  Filters<T> w_;

 private:
  /// Calls write(i, pack) for the products of the `count` kernels at w.
  template <class Write>
  void transform_filter(const T* w, Index count, const Write& write) const {
    transform<FilterTransform<U>>(
        [&](int i, int j) {
          const int id = i * taps + j;
          const T* from = w + (w_.turned ? taps * taps - 1 - id : id) * w_.tap;
          return count == simd::width<T> ? simd::load(from) : simd::load_partial(from, count);
        },
        [&](int i, int j, const simd::Pack<T>& value) { write(i * inputs + j, value); });
  }
  [[gnu::noinline]] void transform_filter_to(simd::Pack<T>* values, const T* w, Index count) const {
    transform_filter(w, count, [&](int i, const simd::Pack<T>& value) { values[i] = value; });
  }
};

/// One task of the forward pass: a panel of columns for at most Tiles tiles of a block.
template <class U, class S, Index Tiles>
class PanelTask : public PanelWeights<U, S> {
  using Weights = PanelWeights<U, S>;
  using Weights::C_in_, Weights::w_, Weights::units_of;

 public:
  using typename Weights::T;
  using Weights::chunks, Weights::gap, Weights::transform_weights, Weights::v_plane,
      Weights::v_size, Weights::width;
  static constexpr Index m_plane = Tiles * width + gap;

  PanelTask(const Window& g, Index C_in, Index C_out, const Filters<T>& w)
      : Weights(C_in, w), g_(g), tiling_(g), C_out_(C_out) {}

  /// Tiles [first, first + count) of the block that begins at `block`. The weights that are needed
  /// next are prefetched during the products.
  void run(const Planes<U>& u, Index block, Index first, Index count, Index panel,
           const Epilogue<T>& epilogue) const {
    constexpr Index chunk_terms = S::task_units * terms_of_unit<U>;
    Scratch<U> v(v_size);
    Scratch<T> m(products * m_plane);
    for (Index chunk = 0; chunk < chunks(); ++chunk) {
      transform_weights(panel, chunk, v.data());
      // After the last of a panel comes the next panel, which is mostly the same thread's.
      const bool last = chunk + 1 == chunks();
      const Index next_panel = panel + last, next = last ? 0 : (chunk + 1) * chunk_terms;
      const Index next_terms =
          next_panel * width < w_.columns ? std::min(chunk_terms, C_in_ - next) : 0;
      Ahead weights(0, next_terms * taps * taps, tiles_multiplied(count));
      multiply(u, first, count, chunk, v.data(), m.data(), [&] {
        weights.prefetch_some([&](Index i) {
          const Index term = next + i / (taps * taps), tap = i % (taps * taps);
          prefetch_panel<T, packs, 2>(w_.data + next_panel * w_.panel + term * w_.term +
                                      tap * w_.tap);
        });
      });
    }
    write(m.data(), block + first, count, panel, epilogue);
  }

  /// Tiles [first, first + count), all of u, with the weights at hand, a v for every chunk. The
  /// maps, which may lie in memory, are prefetched during the products: y, and x of the next so
  /// many tiles.
  void run_private(const Planes<U>& u, Index first, Index count, Index panel, const U* v,
                   const T* x, const Epilogue<T>& epilogue) const {
    Scratch<T> m(products * m_plane);
    const Index panels = (C_out_ + width - 1) / width, tiles = tiling_.count();
    const auto place = [&](Index tile, Index size) { return std::min(tile, tiles) * size / tiles; };
    const Index in = g_.N * g_.in_H * g_.in_W * C_in_ / cache_line<T>, out = g_.N * g_.OH * g_.OW;
    const Index line = place(first + count, in), lines = place(first + 2 * count, in) - line;
    const Index calls = tiles_multiplied(count) * chunks();
    Ahead pixels_y(place(first, out), place(first + count, out), calls);
    Ahead lines_x(line + panel * lines / panels, line + (panel + 1) * lines / panels, calls);
    for (Index chunk = 0; chunk < chunks(); ++chunk, v += v_size)
      multiply(u, 0, count, chunk, v, m.data(), [&] {
        pixels_y.prefetch_some([&](Index pixel) {
          T* y = epilogue.y + pixel * C_out_ + panel * width;
          for (int q = 0; q < packs; ++q) simd::prefetch<true, 2>(y + q * simd::width<T>);
        });
        lines_x.prefetch_some([&](Index l) { simd::prefetch<false, 2>(x + l * cache_line<T>); });
      });
    write(m.data(), first, count, panel, epilogue);
  }

 private:
  /// Register tiles in all the products of so many tiles of the map.
  static Index tiles_multiplied(Index count) {
    return products * ((count + tile_rows - 1) / tile_rows);
  }

  /// Adds to the sums m, or begins them with the first chunk. Calls ahead() before each register
  /// tile; inlined, so that what it counts stays in registers.
  template <class F>
  [[gnu::always_inline]] void multiply(const Planes<U>& u, Index first, Index count, Index chunk,
                                       const U* v, T* m, const F& ahead) const {
    const Index k = chunk * S::task_units, terms = units_of(chunk);
    for (Index i = 0; i < products; ++i) {
      const auto add = [&]<int Rows>(Index r) {
        T* sums = m + i * m_plane + r * width;
        prefetch_rows(u.at(i, first + r + Rows) + k, u.row, Rows, terms);
        ahead();
        Tile<U, packs, Rows> tile;
        if (chunk == 0)
          tile.clear();
        else
          tile.load(sums);
        tile.add_rows(u.at(i, first + r) + k, u.row, terms, v + i * v_plane);
        tile.store(sums);
      };
      Index r = 0;
      for (; r + tail_rows < count; r += tile_rows) add.template operator()<tile_rows>(r);
      if (r < count) add.template operator()<tail_rows>(r);
    }
  }

  void write(const T* m, Index first, Index count, Index panel, const Epilogue<T>& epilogue) const {
    PixelWalk at = tiling_.at(first);
    for (Index r = 0; r < count; ++r, at.next())
      write_tile<U, m_plane, simd::width<T>>(g_, m + r * width, at, panel * width, C_out_,
                                             epilogue);
  }

  /// Prefetches rows of the block's tiles that are multiplied next.
  [[gnu::always_inline]] static void prefetch_rows(const U* rows, Index stride, Index count,
                                                   Index terms) {
    for (Index r = 0; r < count; ++r)
      for (Index k = 0; k < terms; k += cache_line<U>) simd::prefetch(rows + r * stride + k);
  }

  const Window& g_;
  Tiling tiling_;
  Index C_out_;
};

}  // namespace ddpm::DDPM_ABI::kernels::winograd
