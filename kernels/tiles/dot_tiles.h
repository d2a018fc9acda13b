#pragma once

// Private to kernels/: products of blocks on AVX512-BF16, for processors without AMX.

#include <cstring>

#include "kernels/tiles/tiles.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::inline GRAFT_TILE_SPACE {

/// The products of AmxTiles by dot products of pairs: a register holds the sums of 16 columns of a row; to it goes one pair of the left
/// operand, repeated, times 16 pairs of the right one. 8 rows x 32 columns stay in registers over all steps of an add(), 97 % of what
/// the instruction reaches without loads (AMD Zen 4, 576 values of reduction); a tile at a time it would be 90 %.
class DotTiles {
 public:
  static constexpr bool kSumsInRegisters = false;  ///< add() writes them

  void reshape(int64_t upper, int64_t lower) {
    upper_ = upper;
    lower_ = lower;
  }

  /// Tells of a left operand that many products will have; only FmaTiles prepares it.
  void keep(const LeftTiles&, int64_t, bool) {}

  template <bool kBoth = true>
  void begin(const SumTiles& sums, bool fresh) {
    sums_ = sums;
    fresh_ = fresh;
  }

  /// `between` is called as often as AmxTiles calls it, before the product: its registers are needed here.
  template <Passing kPassing = Passing::kNone, bool kBoth = true, class Between = Nothing>
  GRAFT_TILES_INLINE void add(const LeftTiles& left, const RightTiles& right, int64_t steps, const Between& between = {}) {
    for (int64_t step = 0; step < steps; ++step) between();
    add_tile({left.upper, left.row_bytes, left.step, right, steps, sums_.upper, sums_.row_bytes, sums_.column_step, fresh_}, upper_);
    if constexpr (kBoth) {
      add_tile({left.lower, left.row_bytes, left.step, right, steps, sums_.lower, sums_.row_bytes, sums_.column_step, fresh_}, lower_);
    }
    fresh_ = false;
  }

  template <bool kBoth = true>
  GRAFT_TILES_INLINE void finish() {
    if (fresh_) add<Passing::kNone, kBoth>({}, {}, 0);
  }

 private:
  struct Rows {
    const uint16_t* left;
    int64_t left_bytes, left_step;
    RightTiles right;
    int64_t steps;
    float* sums;
    int64_t sums_bytes, column_step;
    bool fresh;

    float* sums_of(int64_t row) const { return sums + row * (sums_bytes / static_cast<int64_t>(sizeof(float))); }
    void skip(int64_t count) {
      if (left != nullptr) left += count * left_bytes / static_cast<int64_t>(sizeof(uint16_t));
      sums = sums_of(count);
    }
  };

  /// A function of its own, since some kernels have a dozen calls.
  GRAFT_TILES __attribute__((noinline)) static void add_tile(Rows rows, int64_t count) {
    const bool wide = rows.right.columns > kTileRows;
    for (; count >= 8; count -= 8, rows.skip(8)) wide ? add_rows<8, 2>(rows) : add_rows<8, 1>(rows);
    if ((count & 4) != 0) add_rows<4, 2>(rows), rows.skip(4);
    if ((count & 2) != 0) add_rows<2, 2>(rows), rows.skip(2);
    if ((count & 1) != 0) add_rows<1, 2>(rows);
  }

  /// kRows rows x 16 or 32 columns. All loops over them are unrolled, or the sums would not stay in registers.
  template <int kRows, int kTiles>
  GRAFT_TILES static void add_rows(const Rows& rows) {
    __m512 sums[kTiles][kRows];
#pragma GCC unroll 2
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        sums[tile][i] = rows.fresh ? _mm512_setzero_ps() : _mm512_loadu_ps(rows.sums_of(i) + tile * rows.column_step);
      }
    }
    const auto* left = reinterpret_cast<const char*>(rows.left);
    const uint16_t* right[] = {rows.right.first, rows.right.second};
    for (int64_t step = 0; step < rows.steps; ++step) {
      const int64_t pairs = step + 1 < rows.steps ? kTileDepth / 2 : rows.right.last_pairs;
#pragma GCC unroll 2
      for (int64_t pair = 0; pair < pairs; ++pair) {
        __m512bh columns[kTiles];
#pragma GCC unroll 2
        for (int tile = 0; tile < kTiles; ++tile) columns[tile] = (__m512bh)_mm512_loadu_si512(right[tile] + 2 * kTileRows * pair);
#pragma GCC unroll 8
        for (int i = 0; i < kRows; ++i) {
          int values;
          std::memcpy(&values, left + i * rows.left_bytes + 4 * pair, sizeof(values));
          const auto repeated = (__m512bh)_mm512_set1_epi32(values);
#pragma GCC unroll 2
          for (int tile = 0; tile < kTiles; ++tile) sums[tile][i] = _mm512_dpbf16_ps(sums[tile][i], columns[tile], repeated);
        }
      }
      left += rows.left_step * static_cast<int64_t>(sizeof(uint16_t));
      right[0] += rows.right.step;
      right[1] += rows.right.step;
    }
#pragma GCC unroll 2
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) _mm512_storeu_ps(rows.sums_of(i) + tile * rows.column_step, sums[tile][i]);
    }
  }

  int64_t upper_ = kTileRows, lower_ = kTileRows;
  SumTiles sums_{};
  bool fresh_ = true;
};

}  // namespace graft::kernels::inline GRAFT_TILE_SPACE

#endif
