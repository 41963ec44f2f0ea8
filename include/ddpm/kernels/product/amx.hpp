// Products of bfloat16 pairs on AMX, Intel's tiles of 16 rows by 64 bytes (Sapphire Rapids and
// later): an instruction multiplies 16 rows of 16 pairs with 16 pairs of 16 columns.
//
// Panels are those of the register tile: a tile of one is 16 pairs by one pack. The rows of a tile
// must lie evenly apart. The pixels of a map mostly do; those that do not are copied, once for all
// panels.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/product/pack.hpp"

#ifdef DDPM_AMX
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace ddpm::DDPM_ABI::kernels::amx {

/// Pairs and rows of a tile; a group of rows is two tiles.
inline constexpr Index side = 16, group = 2 * side;

#ifndef DDPM_AMX

inline bool granted() { return false; }

#else

/// Linux gives a process the tiles when it asks for them.
inline bool granted() {
  constexpr int ask = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM
  static const bool result = syscall(SYS_arch_prctl, ask, tile_data) == 0;
  return result;
}

struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
inline constexpr TileConfig full_tiles{};

/// Tiles of full size for this thread and scope.
class Tiles {
 public:
  Tiles() { _tile_loadconfig(&full_tiles); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
  ~Tiles() { _tile_release(); }
};

/// 16 rows of a tap, `stride` pairs apart.
struct TileRows {
  const Bfloat16Pair* first;
  Index stride;
};

/// sums (32, 32) = rows x panel, of two tiles of rows a tap; see Tile::multiply_rows(). Only the
/// first tile if not `both`.
[[gnu::noinline]] inline void multiply_rows(const TileRows* rows, bool both, Index taps,
                                            const Index* ids, Index pairs,
                                            const Bfloat16Pair* panel, float* sums) {
  constexpr long panel_bytes = 2 * 64, sums_bytes = 2 * 64;
  asm volatile("" ::: "memory");  // the intrinsics do not tell the compiler that they read
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (Index tap = 0; tap < taps; ++tap, rows += 2) {
    const Bfloat16Pair* b = panel + (ids ? ids[tap] : tap) * pairs * 2 * side;
    for (Index k = 0; k < pairs; k += side, b += side * 2 * side) {
      _tile_loadd(6, b, panel_bytes);
      _tile_loadd(7, b + side, panel_bytes);
      _tile_loadd(4, rows[0].first + k, rows[0].stride * 4);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      if (!both) continue;
      _tile_loadd(5, rows[1].first + k, rows[1].stride * 4);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sums, sums_bytes);
  _tile_stored(1, sums + side, sums_bytes);
  _tile_stored(2, sums + side * 2 * side, sums_bytes);
  _tile_stored(3, sums + side * 2 * side + side, sums_bytes);
  asm volatile("" ::: "memory");
}

/// The tiles of a group of rows, whose pointers of a tap are `tap_stride` apart: where they lie, or
/// copies. Pointers past `count` are not read.
class GroupRows {
 public:
  GroupRows(Index taps, Index pairs)
      : taps_(taps), pairs_(pairs), rows_(2 * taps), copies_(taps * group * pairs) {}

  const TileRows* locate(const Bfloat16Pair* const* source, Index tap_stride, Index count) {
    for (Index tap = 0; tap < taps_; ++tap)
      for (Index half = 0; half < (count > side ? 2 : 1); ++half)
        rows_[2 * tap + half] =
            tile(source + tap * tap_stride + half * side, std::min(side, count - half * side),
                 copies_.data() + (2 * tap + half) * side * pairs_);
    return rows_.data();
  }

 private:
  TileRows tile(const Bfloat16Pair* const* source, Index count, Bfloat16Pair* copy) const {
    const Index stride = count > 1 ? source[1] - source[0] : 0;
    bool even = count == side;
    for (Index r = 1; r < side && even; ++r) even = source[r] - source[0] == r * stride;
    if (even) return {source[0], stride};
    for (Index r = 0; r < count; ++r) std::copy_n(source[r], pairs_, copy + r * pairs_);
    return {copy, pairs_};
  }

  Index taps_, pairs_;
  Scratch<TileRows> rows_;
  Scratch<Bfloat16Pair> copies_;
};

#endif

}  // namespace ddpm::DDPM_ABI::kernels::amx
