// 3x3 convolution of stride 1 by Winograd's F(4x4, 3x3): transforms and 36 matrix products.
//
//   planes U[i] (tiles, C_in) of the input, V[i] (C_in, C_out) of the weights, M[i] = U[i] V[i]
//
// In pairs of bfloat16 the planes U and V hold rounded pairs of channels; transforms and sums
// are of floats.
//
// With tiles enough, V is made first, and a task makes U for a few tiles and multiplies it by all
// of V: U and M stay in the second-level cache, and the maps that come next are prefetched
// meanwhile. With few tiles or many channels, U of a block of tiles is made first, by all threads
// and sized for the shared cache; then each task takes a panel of output channels, whose V and M
// stay in the second level. For very few tiles see few_tiles.hpp. Always each tile's sums run
// over C_in in ascending order, so that an image's bits do not depend on its batch.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/conv/winograd/few_tiles.hpp"
#include "ddpm/kernels/conv/winograd/panel_task.hpp"

namespace ddpm::DDPM_ABI::kernels::winograd {

/// True if a task makes its own U. All of V, four times the weights, is then read for every
/// private_tiles tiles, and that pays only with more tiles than channels, in eight tasks or more.
template <class U, class S>
bool private_pays(Index tiles, Index C_in) {
  const Index columns = units<U>(C_in);
  return columns <= S::private_units && tiles >= std::max(columns, 8 * S::private_tiles);
}

/// Writes epilogue.y as convolve() does; a task makes U for a few tiles and multiplies it by all V.
template <class U, class S>
void convolve_private(const Window& g, View<const Sum<U>> x, const Filters<Sum<U>>& w, Index C_out,
                      const Epilogue<Sum<U>>& epilogue) {
  constexpr Index width = panel_width<U, packs>, task_tiles = S::private_tiles;
  const Tiling tiling(g);
  const Index C_in = x.shape.back(), tiles = tiling.count();
  const Index panels = (C_out + width - 1) / width;
  const PanelTask<U, S, task_tiles> work(g, C_in, C_out, w);
  const Index chunks = work.chunks();
  Scratch<U> v(panels * chunks * work.v_size);
  parallel_for(panels * chunks, [&](Index id) {
    work.transform_weights(id / chunks, id % chunks, v.data() + id * work.v_size);
  });
  parallel_for((tiles + task_tiles - 1) / task_tiles, [&](Index task) {
    const Index first = task * task_tiles, count = std::min(task_tiles, tiles - first);
    Scratch<U> memory(Planes<U>::size(task_tiles, units<U>(C_in)));
    const Planes<U> u(memory.data(), task_tiles, units<U>(C_in));
    fill_planes<InputTransform<U>>(x.data, g.input(), C_in, g.padding, tiling, first, count, u);
    for (Index panel = 0; panel < panels; ++panel)
      work.run_private(u, first, count, panel, v.data() + panel * chunks * work.v_size, x.data,
                       epilogue);
  });
}

/// The same; U of a block of tiles is made by all threads, then each task takes a panel of it.
template <class U, class S>
void convolve_blocks(const Window& g, View<const Sum<U>> x, const Filters<Sum<U>>& w, Index C_out,
                     const Epilogue<Sum<U>>& epilogue) {
  constexpr Index width = panel_width<U, packs>;
  const Tiling tiling(g);
  const Index C_in = x.shape.back(), tiles = tiling.count();
  const Index panels = (C_out + width - 1) / width;
  const PanelTask<U, S, S::task_tiles> work(g, C_in, C_out, w);
  const Index block = tiles_of_block<U, S>(tiles, units<U>(C_in));
  Scratch<U> memory(Planes<U>::size(block, units<U>(C_in)));
  const Planes<U> u(memory.data(), block, units<U>(C_in));
  for (Index first = 0; first < tiles; first += block) {
    const Index count = std::min(block, tiles - first);
    fill_planes<InputTransform<U>>(x.data, g.input(), C_in, g.padding, tiling, first, count, u);
    const Index ranges = (count + S::task_tiles - 1) / S::task_tiles;
    parallel_for(ranges * panels, [&](Index task) {
      const Index begin = task / panels * S::task_tiles;
      work.run(u, first, begin, std::min(S::task_tiles, count - begin), task % panels, epilogue);
    });
  }
}

/// Writes epilogue.y (N, OH, OW, C_out) from x (N, H, W, C_in).
template <class U, class S = Sizes>
void convolve(const Window& g, View<const Sum<U>> x, const Filters<Sum<U>>& w, Index C_out,
              const Epilogue<Sum<U>>& epilogue) {
  const Index C_in = x.shape.back(), tiles = Tiling(g).count();
  if constexpr (S::few_tiles > 0 && terms_of_unit<U> == 1)  // pairs gain nothing by it
    if (tiles <= S::few_tiles) return convolve_few<U, S>(g, x, w, C_out, epilogue);
  if (private_pays<U, S>(tiles, C_in))
    convolve_private<U, S>(g, x, w, C_out, epilogue);
  else
    convolve_blocks<U, S>(g, x, w, C_out, epilogue);
}

/// conv(x) for x (N, H, W, C_in) and w (3, 3, C_in, C_out).
template <class U>
void forward(const Window& g, View<const Sum<U>> x, View<const Sum<U>> w,
             const Epilogue<Sum<U>>& epilogue) {
  const Index C_in = w.dim(2), C_out = w.dim(3);
  convolve<U>(g, x, Filters<Sum<U>>::plain(w.data, C_in, C_out), C_out, epilogue);
}

/// dx (N, H, W, C_in): a convolution too, of dy, with the kernel turned and its channels exchanged.
template <class U>
void data_gradient(const Window& g, View<const Sum<U>> dy, View<const Sum<U>> w, Sum<U>* dx) {
  using T = Sum<U>;
  const Index C_in = w.dim(2), C_out = w.dim(3);
  Scratch<T> packed(packed_size<T, packs>(g.taps() * C_out, C_in));
  pack_panels<T, packs>(w.data, g.taps(), C_out, C_in, C_out, true, packed.data());
  const auto filters = Filters<T>::packed(packed.data(), C_out, C_in);
  convolve<U>(turned(g), dy, filters, C_in, {{}, nullptr, dx});
}

}  // namespace ddpm::DDPM_ABI::kernels::winograd
