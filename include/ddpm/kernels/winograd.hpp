// 3x3 convolution of stride 1 by Winograd's F(4x4, 3x3): transforms and 36 matrix products.
//
//   planes U[i] (tiles, C_in) of the input, V[i] (C_in, C_out) of the weights, M[i] = U[i] V[i]
//   weight gradient: V'[i] = U[i]^T Z[i] over tiles, Z the planes of dy
//
// A tile is 4x4 pixels of the output. With tiles enough, V is made first, and a task makes U for a
// few tiles and multiplies it by all of V: U and M stay in the second-level cache, and the maps
// that come next are asked for meanwhile. With few tiles or many channels, U of a block of tiles is
// made first, by all threads and sized for the shared cache; then each task takes a panel of output
// channels, whose V and M stay in the second level. Either way each tile's sums run over C_in in
// ascending order, so that an image's bits do not depend on its batch.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/matmul.hpp"
#include "ddpm/kernels/window.hpp"
#include "ddpm/kernels/winograd_transform.hpp"

namespace ddpm::inline DDPM_ABI::kernels::winograd {

inline constexpr int packs = 2;  ///< of a panel; layers of 32 channels or more fill it

/// The sizes of the blocking, a template parameter of what follows, so that bench_winograd can try
/// others. Measured on Zen 4 and Zen 5 (1 MB of second-level cache a core, 32 MB shared).
struct Sizes {
  static constexpr Index block_bytes = Index{4} << 20;  ///< of all planes of one block of tiles
  static constexpr Index task_tiles = 128 / tile_rows * tile_rows;  ///< tiles whose M a task holds
  static constexpr Index task_terms = 64;                           ///< C_in whose V a task holds
  static constexpr Index private_terms = 256;  ///< up to so many C_in a task makes its own U
  static constexpr Index private_tiles = 4 * tile_rows;  ///< tiles of such a task
  static constexpr Index narrow_weights = 2048;  ///< up to so many C_in C_out, gradients by shares
  static constexpr Index task_rows = 64 / tile_rows * tile_rows;  ///< C_in of a task of weights
  /// Rows of weights asked for before they are transformed: the nine taps of a row often lie a
  /// power of two apart, and more rows would push each other out of the same few sets of the first
  /// level.
  static constexpr Index filters_ahead = 3;
};

inline constexpr int few_rows = tile_rows / 2;  ///< a small image's 8x8 map has four tiles

/// The tiles of a window's small map.
struct Tiling {
  Index N, rows, columns;

  explicit Tiling(const Window& g)
      : N(g.N), rows((g.OH + outputs - 1) / outputs), columns((g.OW + outputs - 1) / outputs) {}
  Index count() const { return N * rows * columns; }
  PixelWalk at(Index tile) const { return {tile, rows, columns}; }
};

/// Where the 36 planes (tiles, columns) of a block lie. Rows are whole packs; the odd strides keep
/// the planes of one tile out of each other's cache sets.
template <class T>
struct Planes {
  T* data;
  Index row, plane;  ///< strides

  static constexpr Index gap = cache_line<T>;
  static Index row_stride(Index columns) {
    constexpr Index width = panel_width<T, packs>;
    return (columns + width - 1) / width * width + gap;
  }
  static Index size(Index tiles, Index columns) {
    return products * (tiles * row_stride(columns) + gap) + gap;
  }
  Planes(T* memory, Index tiles, Index columns)
      : data(memory), row(row_stride(columns)), plane(tiles * row + gap) {}
  T* at(Index product, Index tile) const { return data + product * plane + tile * row; }
};

/// Writes the planes of tiles [first, first + count) from maps of C channels: a tile's patch of
/// Transform::from pixels square begins at four times its place, less the padding; what lies
/// outside is zero. What the tile to the right sees besides is asked for meanwhile: a patch's rows
/// are too many streams for the machine to foresee.
template <class Transform, class T>
void fill_planes(const T* x, const MapExtent& map, Index C, const Padding& padding,
                 const Tiling& tiling, Index first, Index count, const Planes<T>& planes) {
  constexpr Index from = Transform::from, width = simd::width<T>, together = 4;
  Scratch<T> zeros(C);
  std::fill_n(zeros.data(), C, T(0));
  parallel_for((count + together - 1) / together, [&](Index task) {
    const Index begin = task * together, end = std::min(begin + together, count);
    PixelWalk at = tiling.at(first + begin);
    for (Index tile = begin; tile < end; ++tile, at.next()) {
      const T* source[from][from];
      const Index top = at.h * outputs - padding.top, left = at.w * outputs - padding.left;
      Index column[from];
      for (Index j = 0; j < from; ++j) column[j] = map.stored_column(left + j) * C;
      const Index ahead = map.stored_column(std::min(left + from, map.W)) * C,
                  ahead_end = map.stored_column(std::min(left + from + outputs, map.W)) * C;
      for (Index i = 0; i < from; ++i) {
        const bool row_inside = map.has_row(top + i);
        const T* row = x + (at.n * map.in_H + map.stored_row(top + i)) * map.in_W * C;
        for (Index j = 0; j < from; ++j)
          source[i][j] = row_inside && map.has_column(left + j) ? row + column[j] : zeros.data();
        if (row_inside)
          for (Index k = ahead; k < ahead_end; k += cache_line<T>) __builtin_prefetch(row + k);
      }
      T* target = planes.at(0, tile);
      Index c = 0;
      for (; c < C; c += width) {
        const bool whole = c + width <= C;
        transform<Transform, T>(
            [&](int i, int j) {
              const T* from_pixel = source[i][j] + c;
              return whole ? simd::load(from_pixel) : simd::load_partial(from_pixel, C - c);
            },
            [&](int i, int j, const simd::Pack<T>& v) {
              simd::store(target + (i * inputs + j) * planes.plane + c, v);
            });
      }
      for (; c < planes.row - planes.gap; c += width)
        for (int i = 0; i < products; ++i)
          simd::store(target + i * planes.plane + c, simd::Pack<T>(T(0)));
    }
  });
}

/// Tiles of one block: as many as the shared cache holds, for `columns` columns in all.
template <class T, class S>
Index tiles_of_block(Index tiles, Index columns) {
  const Index bytes = products * columns * Index{sizeof(T)};
  const Index fit = std::max(S::block_bytes / bytes / S::task_tiles, Index{1}) * S::task_tiles;
  const Index blocks = (tiles + fit - 1) / fit;
  const Index each = (tiles + blocks - 1) / std::max(blocks, Index{1});
  return (each + tile_rows - 1) / tile_rows * tile_rows;
}

/// Where the weights of a panel lie: as they are, (9, C_in, C_out), or packed by pack_panels().
template <class T>
struct Filters {
  const T* data;
  Index panel, tap, term;  ///< strides
  Index columns;           ///< values that are there, from the first panel's start
  bool flipped = false;    ///< turn the kernel by 180 degrees

  static Filters plain(const T* w, Index C_in, Index C_out, Index width) {
    return {w, width, C_in * C_out, C_out, C_out};
  }
  static Filters packed(const T* w, Index C_in, Index panels, Index width, bool flipped) {
    return {w, taps * taps * C_in * width, C_in * width, width, panels * width, flipped};
  }
};

/// What a convolution does once its sums are there.
template <class T>
struct Epilogue {
  View<const T> bias;           ///< (C_out), (N, C_out) or empty
  const T* residual = nullptr;  ///< laid out as the output
  T* y = nullptr;
};

/// What is asked for a little at a time. Equal portions, so that the processor foresees the loop.
class Ahead {
 public:
  Ahead(Index first, Index last, Index calls)
      : next_(first), last_(last), each_((last - first + calls - 1) / calls) {}

  template <class F>
  void ask(const F& prefetch) {
    for (Index n = 0; n < each_ && next_ < last_; ++n) prefetch(next_++);
  }

 private:
  Index next_, last_, each_;
};

/// One task of the forward pass: a panel of columns for at most Tiles tiles of a block.
template <class T, class S, Index Tiles>
class PanelTask {
 public:
  static constexpr Index width = panel_width<T, packs>, gap = Planes<T>::gap;
  static constexpr Index v_plane = S::task_terms * width + gap, v_size = products * v_plane,
                         m_plane = Tiles * width + gap;

  PanelTask(const Window& g, Index C_in, Index C_out, const Filters<T>& w)
      : g_(g), tiling_(g), C_in_(C_in), C_out_(C_out), w_(w) {}

  /// Tiles [first, first + count) of the block that begins at `block`. The weights that are needed
  /// next are asked for during the products.
  void run(const Planes<T>& u, Index block, Index first, Index count, Index panel,
           const Epilogue<T>& epilogue) const {
    Scratch<T> v(v_size), m(products * m_plane);
    for (Index k = 0; k < C_in_; k += S::task_terms) {
      const Index terms = std::min(S::task_terms, C_in_ - k);
      transform_weights(panel, k, terms, v.data());
      // After the last of a panel comes the next panel, which is mostly the same thread's.
      const bool last = k + terms == C_in_;
      const Index next_panel = panel + last, next = last ? 0 : k + terms;
      const Index next_terms =
          next_panel * width < w_.columns ? std::min(S::task_terms, C_in_ - next) : 0;
      Ahead weights(0, next_terms * taps * taps, tiles_multiplied(count));
      multiply(u, first, count, k, terms, v.data(), m.data(), [&] {
        weights.ask([&](Index i) {
          const Index term = next + i / (taps * taps), tap = i % (taps * taps);
          prefetch_panel<T, packs, 2>(w_.data + next_panel * w_.panel + term * w_.term +
                                      tap * w_.tap);
        });
      });
    }
    write(m.data(), block + first, count, panel, epilogue);
  }

  /// Tiles [first, first + count), all of u, with the weights at hand, a v for every task_terms
  /// channels. The maps, which may lie in memory, are asked for during the products: y, and x of
  /// the next so many tiles.
  void run_private(const Planes<T>& u, Index first, Index count, Index panel, const T* v,
                   const T* x, const Epilogue<T>& epilogue) const {
    Scratch<T> m(products * m_plane);
    const Index panels = (C_out_ + width - 1) / width, tiles = tiling_.count();
    const auto place = [&](Index tile, Index size) { return std::min(tile, tiles) * size / tiles; };
    const Index in = g_.N * g_.in_H * g_.in_W * C_in_ / cache_line<T>, out = g_.N * g_.OH * g_.OW;
    const Index line = place(first + count, in), lines = place(first + 2 * count, in) - line;
    const Index calls = tiles_multiplied(count) * chunks();
    Ahead pixels_y(place(first, out), place(first + count, out), calls);
    Ahead lines_x(line + panel * lines / panels, line + (panel + 1) * lines / panels, calls);
    for (Index k = 0; k < C_in_; k += S::task_terms, v += v_size)
      multiply(u, 0, count, k, std::min(S::task_terms, C_in_ - k), v, m.data(), [&] {
        pixels_y.ask([&](Index pixel) {
          T* y = epilogue.y + pixel * C_out_ + panel * width;
          for (int q = 0; q < packs; ++q) __builtin_prefetch(y + q * simd::width<T>, 1, 2);
        });
        lines_x.ask([&](Index l) { __builtin_prefetch(x + l * cache_line<T>, 0, 2); });
      });
    write(m.data(), first, count, panel, epilogue);
  }

  Index chunks() const { return (C_in_ + S::task_terms - 1) / S::task_terms; }

  /// Writes v, 36 planes (terms, width) of one panel.
  void transform_weights(Index panel, Index first, Index terms, T* v) const {
    const Index valid = std::min(width, w_.columns - panel * width);
    for (Index k = 0; k < terms; ++k) {
      const T* w = w_.data + panel * w_.panel + (first + k) * w_.term;
      if (first + k + S::filters_ahead < C_in_)
        for (int tap = 0; tap < taps * taps; ++tap)
          prefetch_panel<T, packs>(w + S::filters_ahead * w_.term + tap * w_.tap);
      for (Index at = 0; at < width; at += simd::width<T>, w += simd::width<T>) {
        const Index count = std::clamp<Index>(valid - at, 0, simd::width<T>);
        transform<FilterTransform, T>(
            [&](int i, int j) {
              const int id = i * taps + j;
              const T* from = w + (w_.flipped ? taps * taps - 1 - id : id) * w_.tap;
              return count == simd::width<T> ? simd::load(from) : simd::load_partial(from, count);
            },
            [&](int i, int j, const simd::Pack<T>& value) {
              simd::store(v + (i * inputs + j) * v_plane + k * width + at, value);
            });
      }
    }
  }

 private:
  /// Register tiles in all the products of so many tiles of the map.
  static Index tiles_multiplied(Index count) {
    return products * ((count + tile_rows - 1) / tile_rows);
  }

  /// Adds to the sums m, or begins them if k is 0. Calls ahead() before each register tile.
  template <class F>
  [[gnu::always_inline]] void multiply(const Planes<T>& u, Index first, Index count, Index k,
                                       Index terms, const T* v, T* m, const F& ahead) const {
    for (Index i = 0; i < products; ++i) {
      const auto add = [&]<int Rows>(Index r) {
        T* sums = m + i * m_plane + r * width;
        prefetch_rows(u.at(i, first + r + Rows) + k, u.row, Rows, terms);
        ahead();
        Tile<T, packs, Rows> tile;
        if (k == 0)
          tile.clear();
        else
          tile.load(sums);
        tile.add_rows(u.at(i, first + r) + k, u.row, terms, v + i * v_plane);
        tile.store(sums);
      };
      Index r = 0;
      for (; r + few_rows < count; r += tile_rows) add.template operator()<tile_rows>(r);
      if (r < count) add.template operator()<few_rows>(r);
    }
  }

  void write(const T* m, Index first, Index count, Index panel, const Epilogue<T>& epilogue) const {
    PixelWalk at = tiling_.at(first), ahead = at;
    for (Index r = 0; r < count; ++r, at.next()) {
      ahead.next();
      if (epilogue.residual && r + 1 < count)
        prefetch_tile(epilogue.residual, ahead, panel * width);
      write_tile(m + r * width, at, panel * width, epilogue);
    }
  }

  /// Asks for rows of the block's tiles that are multiplied next.
  static void prefetch_rows(const T* rows, Index stride, Index count, Index terms) {
    for (Index r = 0; r < count; ++r)
      for (Index k = 0; k < terms; k += cache_line<T>) __builtin_prefetch(rows + r * stride + k);
  }

  void prefetch_tile(const T* y, const PixelWalk& at, Index first) const {
    const Index rows = std::min<Index>(outputs, g_.OH - at.h * outputs);
    const Index columns = std::min<Index>(outputs, g_.OW - at.w * outputs);
    for (Index i = 0; i < rows; ++i)
      for (Index j = 0; j < columns; ++j)
        prefetch_panel<T, packs>(
            y + ((at.n * g_.OH + at.h * outputs + i) * g_.OW + at.w * outputs + j) * C_out_ +
            first);
  }

  void write_tile(const T* m, const PixelWalk& at, Index first, const Epilogue<T>& out) const {
    const Index rows = std::min<Index>(outputs, g_.OH - at.h * outputs);
    const Index columns = std::min<Index>(outputs, g_.OW - at.w * outputs);
    const T* bias = out.bias.data;
    if (bias && out.bias.shape.rank() == 2) bias += at.n * C_out_;
    for (Index c = first, q = 0; q < packs && c < C_out_; ++q, c += simd::width<T>) {
      const Index valid = std::min(simd::width<T>, C_out_ - c);
      const bool whole = valid == simd::width<T>;
      const auto load = [&](const T* p) {
        return whole ? simd::load(p) : simd::load_partial(p, valid);
      };
      simd::Pack<T> y[outputs][outputs];
      transform<OutputTransform, T>(
          [&](int i, int j) {
            return simd::load(m + (i * inputs + j) * m_plane + q * simd::width<T>);
          },
          [&](int i, int j, const simd::Pack<T>& value) { y[i][j] = value; });
      const simd::Pack<T> added = bias ? load(bias + c) : simd::Pack<T>(T(0));
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < columns; ++j) {
          const Index place =
              ((at.n * g_.OH + at.h * outputs + i) * g_.OW + at.w * outputs + j) * C_out_ + c;
          simd::Pack<T> value = y[i][j] + added;
          if (out.residual) value += load(out.residual + place);
          if (whole)
            simd::store(out.y + place, value);
          else
            simd::store_partial(out.y + place, value, valid);
        }
    }
  }

  const Window& g_;
  Tiling tiling_;
  Index C_in_, C_out_;
  Filters<T> w_;
};

/// Writes epilogue.y (N, OH, OW, C_out) from x (N, H, W, C_in).
template <class T, class S = Sizes>
void convolve(const Window& g, View<const T> x, const Filters<T>& w, Index C_out,
              const Epilogue<T>& epilogue) {
  constexpr Index width = panel_width<T, packs>;
  const Tiling tiling(g);
  const Index C_in = x.shape.back(), tiles = tiling.count();
  const Index panels = (C_out + width - 1) / width;
  const auto fill = [&](Index first, Index count, const Planes<T>& u) {
    fill_planes<InputTransform>(x.data, g.input(), C_in, g.padding, tiling, first, count, u);
  };
  if (C_in <= S::private_terms && tiles >= std::max(C_in, 8 * S::private_tiles)) {
    const PanelTask<T, S, S::private_tiles> work(g, C_in, C_out, w);
    const Index chunks = work.chunks();
    Scratch<T> v(panels * chunks * work.v_size);
    parallel_for(panels * chunks, [&](Index id) {
      const Index first = id % chunks * S::task_terms;
      work.transform_weights(id / chunks, first, std::min(S::task_terms, C_in - first),
                             v.data() + id * work.v_size);
    });
    parallel_for((tiles + S::private_tiles - 1) / S::private_tiles, [&](Index task) {
      const Index first = task * S::private_tiles,
                  count = std::min(S::private_tiles, tiles - first);
      Scratch<T> memory(Planes<T>::size(S::private_tiles, C_in));
      const Planes<T> u(memory.data(), S::private_tiles, C_in);
      fill(first, count, u);
      for (Index panel = 0; panel < panels; ++panel)
        work.run_private(u, first, count, panel, v.data() + panel * chunks * work.v_size, x.data,
                         epilogue);
    });
    return;
  }
  const PanelTask<T, S, S::task_tiles> work(g, C_in, C_out, w);
  const Index block = tiles_of_block<T, S>(tiles, C_in);
  Scratch<T> memory(Planes<T>::size(block, C_in));
  const Planes<T> u(memory.data(), block, C_in);
  for (Index first = 0; first < tiles; first += block) {
    const Index count = std::min(block, tiles - first);
    fill(first, count, u);
    const Index ranges = (count + S::task_tiles - 1) / S::task_tiles;
    parallel_for(ranges * panels, [&](Index task) {
      const Index begin = task / panels * S::task_tiles;
      work.run(u, first, begin, std::min(S::task_tiles, count - begin), task % panels, epilogue);
    });
  }
}

/// One task of the weight gradient: rows [row, row + rows), at most task_rows, of one panel, over a
/// block of tiles. Each pass over the tiles asks for one cache line a tile of the next product's
/// planes, which lie too far apart for the machine to foresee.
template <class T, class S>
void add_weight_gradient(const Planes<T>& u, const Planes<T>& z, Index tiles, Index C_in,
                         Index C_out, Index row, Index rows, Index panel, bool first_block, T* dw) {
  constexpr Index width = panel_width<T, packs>, plane = S::task_rows * width + Planes<T>::gap;
  const Index u_lines = (rows + cache_line<T> - 1) / cache_line<T>;
  Scratch<T> v(products * plane);
  for (Index i = 0; i < products; ++i)
    for (Index r = 0; r < rows; r += tile_rows) {
      const Index next = std::min<Index>(i + 1, products - 1), line = r / tile_rows;
      const auto [ahead, ahead_stride] =
          line < u_lines
              ? std::pair(u.at(next, 0) + row + line * cache_line<T>, u.row)
              : std::pair(z.at(next, 0) + panel * width + (line - u_lines) * cache_line<T> % width,
                          z.row);
      Tile<T, packs> tile;
      tile.clear();
      tile.add_outer(u.at(i, 0) + row + r, u.row, tiles, z.at(i, 0) + panel * width, z.row, ahead,
                     ahead_stride);
      tile.store(v.data() + i * plane + r * width);
    }
  for (Index r = 0; r < rows; ++r)
    for (Index q = 0, c = panel * width; q < packs && c < C_out; ++q, c += simd::width<T>) {
      const Index valid = std::min(simd::width<T>, C_out - c);
      transform<FilterGradient, T>(
          [&](int i, int j) {
            return simd::load(v.data() + (i * inputs + j) * plane + r * width + q * simd::width<T>);
          },
          [&](int i, int j, simd::Pack<T> value) {
            T* target = dw + ((i * taps + j) * C_in + row + r) * C_out + c;
            if (!first_block) value += simd::load_partial(target, valid);
            simd::store_partial(target, value, valid);
          });
    }
}

/// The weight gradient of narrow layers: a task takes a share of the tiles, for all channels. Its
/// sums V', and U and Z of a few tiles at a time, stay in the second-level cache. The shares are
/// added in order.
template <class T, class S>
class NarrowWeightGradient {
 public:
  static constexpr Index shares = 8, width = panel_width<T, packs>;

  NarrowWeightGradient(const Window& g, View<const T> x, View<const T> dy)
      : g_(g),
        x_(x),
        dy_(dy),
        tiling_(g),
        C_in_(x.shape.back()),
        C_out_(dy.shape.back()),
        panels_((C_out_ + width - 1) / width),
        rows_((C_in_ + tile_rows - 1) / tile_rows * tile_rows),
        plane_(panels_ * rows_ * width + Planes<T>::gap),
        sums_(shares * products * plane_) {}

  /// True if the sums fill less than half of the cache and every share has tiles enough.
  static bool pays(Index tiles, Index C_in, Index C_out) {
    return C_in * C_out <= S::narrow_weights && tiles >= 2 * shares * S::private_tiles;
  }

  void write(T* dw) const {
    parallel_for(shares, [&](Index share) { add_share(share); });
    parallel_for(C_in_, [&](Index row) {
      for (Index c = 0; c < C_out_; c += simd::width<T>) {
        const Index valid = std::min(simd::width<T>, C_out_ - c);
        const T* sums = sums_.data() + (c / width * rows_ + row) * width + c % width;
        transform<FilterGradient, T>(
            [&](int i, int j) {
              const T* sum = sums + (i * inputs + j) * plane_;
              simd::Pack<T> total = simd::load(sum);
              for (Index share = 1; share < shares; ++share)
                total += simd::load(sum + share * products * plane_);
              return total;
            },
            [&](int i, int j, const simd::Pack<T>& value) {
              simd::store_partial(dw + ((i * taps + j) * C_in_ + row) * C_out_ + c, value, valid);
            });
      }
    });
  }

 private:
  void add_share(Index share) const {
    const Index tiles = tiling_.count(), end = (share + 1) * tiles / shares;
    T* sums = sums_.data() + share * products * plane_;
    std::fill_n(sums, products * plane_, T(0));
    const Index u_size = Planes<T>::size(S::private_tiles, C_in_);
    Scratch<T> memory(u_size + Planes<T>::size(S::private_tiles, C_out_));
    const Planes<T> u(memory.data(), S::private_tiles, C_in_);
    const Planes<T> z(memory.data() + u_size, S::private_tiles, C_out_);
    for (Index first = share * tiles / shares; first < end; first += S::private_tiles) {
      const Index count = std::min(S::private_tiles, end - first);
      fill_planes<InputTransform>(x_.data, g_.input(), C_in_, g_.padding, tiling_, first, count, u);
      fill_planes<OutputGradient>(dy_.data, MapExtent{g_.OH, g_.OW}, C_out_, {}, tiling_, first,
                                  count, z);
      add_products(u, z, first, count, sums);
    }
  }

  /// Asks for the maps of the next tiles, which may lie in memory, a value further with every term.
  void add_products(const Planes<T>& u, const Planes<T>& z, Index first, Index count,
                    T* sums) const {
    const Index calls = products * panels_ * rows_ / tile_rows, half = (calls + 1) / 2;
    const auto map_ahead = [&](View<const T> map) {
      const Index tiles = tiling_.count(), size = map.shape.size();
      const Index from = std::min(first + count, tiles) * size / tiles;
      const Index to = std::min(first + 2 * count, tiles) * size / tiles;
      return std::pair(map.data + from, (to - from + half * count - 1) / (half * count));
    };
    const auto [x, x_step] = map_ahead(x_);
    const auto [dy, dy_step] = map_ahead(dy_);
    Index call = 0;
    for (Index i = 0; i < products; ++i)
      for (Index panel = 0; panel < panels_; ++panel)
        for (Index r = 0; r < rows_; r += tile_rows, ++call) {
          T* sum = sums + i * plane_ + (panel * rows_ + r) * width;
          Tile<T, packs> tile;
          tile.load(sum);
          tile.add_outer(
              u.at(i, 0) + r, u.row, count, z.at(i, 0) + panel * width, z.row,
              call < half ? x + call * count * x_step : dy + (call - half) * count * dy_step,
              call < half ? x_step : dy_step);
          tile.store(sum);
        }
  }

  const Window& g_;
  View<const T> x_, dy_;
  Tiling tiling_;
  Index C_in_, C_out_, panels_, rows_, plane_;
  Scratch<T> sums_;
};

/// Writes dw (3, 3, C_in, C_out) from x (N, H, W, C_in) and dy (N, OH, OW, C_out).
template <class T, class S = Sizes>
void weight_gradient(const Window& g, View<const T> x, View<const T> dy, T* dw) {
  constexpr Index width = panel_width<T, packs>;
  const Tiling tiling(g);
  const Index C_in = x.shape.back(), C_out = dy.shape.back(), tiles = tiling.count();
  using Narrow = NarrowWeightGradient<T, S>;
  if (Narrow::pays(tiles, C_in, C_out)) return Narrow(g, x, dy).write(dw);
  constexpr Index wanted_tasks = 4;
  const Index panels = (C_out + width - 1) / width;
  // Narrow layers get shorter tasks, so that there are some for other threads.
  Index tiles_of_rows = std::min(S::task_rows, C_in + tile_rows - 1) / tile_rows;
  while (tiles_of_rows > 1 && C_in * panels < wanted_tasks * tiles_of_rows * tile_rows)
    tiles_of_rows = (tiles_of_rows + 1) / 2;
  const Index rows = tiles_of_rows * tile_rows, groups = (C_in + rows - 1) / rows;
  const Index block = tiles_of_block<T, S>(tiles, C_in + C_out);
  Scratch<T> memory(Planes<T>::size(block, C_in) + Planes<T>::size(block, C_out));
  const Planes<T> u(memory.data(), block, C_in);
  const Planes<T> z(memory.data() + Planes<T>::size(block, C_in), block, C_out);
  for (Index first = 0; first < tiles; first += block) {
    const Index count = std::min(block, tiles - first);
    fill_planes<InputTransform>(x.data, g.input(), C_in, g.padding, tiling, first, count, u);
    fill_planes<OutputGradient>(dy.data, MapExtent{g.OH, g.OW}, C_out, {}, tiling, first, count, z);
    parallel_for(groups * panels, [&](Index task) {
      const Index row = task / panels * rows;
      add_weight_gradient<T, S>(u, z, count, C_in, C_out, row, std::min(rows, C_in - row),
                                task % panels, first == 0, dw);
    });
  }
}

}  // namespace ddpm::inline DDPM_ABI::kernels::winograd
