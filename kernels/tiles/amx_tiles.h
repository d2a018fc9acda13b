#pragma once

// Private to kernels/: products of blocks on the tile registers of AMX.

#include "kernels/tiles/tiles.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::inline GRAFT_TILE_SPACE {

/// This thread's tile registers, from construction to destruction; objects on one thread must not nest, and every thread of a parallel
/// region needs its own. A product is begin(), add() for each stretch of its reduction, finish().
class AmxTiles {
 public:
  static constexpr bool kSumsInRegisters = true;  ///< until finish()

  AmxTiles() { reshape(kTileRows, kTileRows); }
  GRAFT_TILES ~AmxTiles() { _tile_release(); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;

  /// Blocks of fewer rows from here on: `upper` and `lower` of them (1 to 16) in the two tiles of the left operand and of the sums.
  GRAFT_TILES void reshape(int64_t upper, int64_t lower) {
    const int64_t rows[8] = {upper, upper, lower, lower, upper, lower, kTileRows, kTileRows};
    alignas(64) Configuration configuration{};
    configuration.palette = 1;
    for (int tile = 0; tile < 8; ++tile) {
      configuration.bytes_a_row[tile] = static_cast<uint16_t>(kTileBytes);
      configuration.rows[tile] = static_cast<uint8_t>(rows[tile]);
    }
    // The intrinsic names only the first 8 of the 64 bytes that the instruction reads.
    __asm__ volatile("" ::"r"(&configuration) : "memory");
    _tile_loadconfig(&configuration);
  }

  /// Tells of a left operand that many products will have; only FmaTiles prepares it.
  void keep(const LeftTiles&, int64_t, bool) {}

  /// Sums that go on from what is at `sums`, or from zero if they are `fresh`. Without kBoth only the upper 16 rows, here and below.
  template <bool kBoth = true>
  GRAFT_TILES_INLINE void begin(const SumTiles& sums, bool fresh) {
    sums_ = sums;
    if (fresh) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      return;
    }
    _tile_loadd(0, sums.upper, sums.row_bytes);
    _tile_loadd(1, sums.upper + sums.column_step, sums.row_bytes);
    if constexpr (kBoth) {
      _tile_loadd(2, sums.lower, sums.row_bytes);
      _tile_loadd(3, sums.lower + sums.column_step, sums.row_bytes);
    }
  }

  /// += left · right. After each step `between` is called, whose work the vector units do while the matrix unit multiplies.
  template <Passing kPassing = Passing::kNone, bool kBoth = true, class Between = Nothing>
  GRAFT_TILES_INLINE void add(LeftTiles left, RightTiles right, int64_t steps, const Between& between = {}) {
    for (int64_t step = 0; step < steps; ++step) {
      if constexpr (kPassing == Passing::kLeft) {
        _tile_stream_loadd(4, left.upper, left.row_bytes);
      } else {
        _tile_loadd(4, left.upper, left.row_bytes);
      }
      if constexpr (kPassing == Passing::kRight) {
        _tile_stream_loadd(6, right.first, kTileBytes);
      } else {
        _tile_loadd(6, right.first, kTileBytes);
      }
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (kPassing == Passing::kRight) {
        _tile_stream_loadd(7, right.second, kTileBytes);
      } else {
        _tile_loadd(7, right.second, kTileBytes);
      }
      _tile_dpbf16ps(1, 4, 7);
      if constexpr (kBoth) {
        if constexpr (kPassing == Passing::kLeft) {
          _tile_stream_loadd(5, left.lower, left.row_bytes);
        } else {
          _tile_loadd(5, left.lower, left.row_bytes);
        }
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
      between();
      left.upper += left.step;
      left.lower += left.step;
      right.first += right.step;
      right.second += right.step;
    }
  }

  /// Writes the sums to where begin() was told; before that, what is there is undefined.
  template <bool kBoth = true>
  GRAFT_TILES_INLINE void finish() {
    _tile_stored(0, sums_.upper, sums_.row_bytes);
    _tile_stored(1, sums_.upper + sums_.column_step, sums_.row_bytes);
    if constexpr (kBoth) {
      _tile_stored(2, sums_.lower, sums_.row_bytes);
      _tile_stored(3, sums_.lower + sums_.column_step, sums_.row_bytes);
    }
  }

 private:
  struct Configuration {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_a_row[16];
    uint8_t rows[16];
  };
  SumTiles sums_{};
};

}  // namespace graft::kernels::inline GRAFT_TILE_SPACE

#endif
