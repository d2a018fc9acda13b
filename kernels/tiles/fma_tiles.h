#pragma once

// Private to kernels/: products of blocks on AVX2, for processors without products of bf16.

#include <algorithm>
#include <cstring>

#include "kernels/tiles/tiles.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::inline GRAFT_TILE_SPACE {

/// The products of AmxTiles in fp32: bf16 values are the upper halves of fp32 ones, so a register of pairs is one shift and one mask away from
/// two of fp32. 6 rows x 16 columns stay in registers, their left values are repeated from a copy in fp32.
class FmaTiles {
 public:
  static constexpr bool kSumsInRegisters = false;  ///< add() writes them

  void reshape(int64_t upper, int64_t lower) {
    upper_ = upper;
    lower_ = lower;
  }

  template <bool kBoth = true>
  void begin(const SumTiles& sums, bool fresh) {
    sums_ = sums;
    fresh_ = fresh;
  }

  /// `between` is called as often as AmxTiles calls it, before the product: its registers are needed here.
  template <Passing kPassing = Passing::kNone, bool kBoth = true, class Between = Nothing>
  GRAFT_TILES_INLINE void add(const LeftTiles& left, const RightTiles& right, int64_t steps, const Between& between = {}) {
    for (int64_t step = 0; step < steps; ++step) between();
    add_tiles(left, right, steps, kBoth ? lower_ : 0);
    fresh_ = fresh_ && steps == 0;
  }

  template <bool kBoth = true>
  GRAFT_TILES_INLINE void finish() {
    if (!fresh_) return;
    zero(sums_.upper, upper_);
    if constexpr (kBoth) zero(sums_.lower, lower_);
  }

 private:
  static constexpr int64_t kChunk = 4;  ///< steps whose left values are kept: with the right ones they stay in the first cache
  static constexpr int64_t kRowsAtOnce = 6;
  static constexpr int64_t kPairStride = 2 * kTileRows;  ///< from a pair of values of 16 rows to the next

  /// Some rows of one tile of the left operand in fp32, [step][16 pairs of values][16 rows], times the right operand's chunk.
  struct Rows {
    const float* left;
    RightTiles right;
    int64_t steps, last_pairs;
    float* sums;
    int64_t sums_stride, column_step;
    bool fresh;

    void skip(int64_t count) {
      left += 2 * count;
      sums += count * sums_stride;
    }
  };

  GRAFT_TILES void zero(float* sums, int64_t rows) const {
    for (int64_t row = 0; row < rows; ++row) {
      float* at = sums + row * sums_.row_bytes / static_cast<int64_t>(sizeof(float));
      std::fill_n(at, kTileRows, 0.0f);
      std::fill_n(at + sums_.column_step, kTileRows, 0.0f);
    }
  }

  /// A function of its own, since some kernels have a dozen calls.
  GRAFT_TILES __attribute__((noinline)) void add_tiles(LeftTiles left, RightTiles right, int64_t steps, int64_t lower) {
    for (int64_t first = 0; first < steps; first += kChunk) {
      const int64_t count = std::min(kChunk, steps - first), last_pairs = first + count == steps ? right.last_pairs : kTileDepth / 2;
      const Rows chunk{left_, right, count, last_pairs, nullptr, sums_.row_bytes / static_cast<int64_t>(sizeof(float)), sums_.column_step,
                       fresh_ && first == 0};
      add_tile(chunk, left.upper, left, upper_, sums_.upper);
      if (lower > 0) add_tile(chunk, left.lower, left, lower, sums_.lower);
      left.upper += count * left.step;
      left.lower += count * left.step;
      right.first += count * right.step;
      right.second += count * right.step;
    }
  }

  GRAFT_TILES void add_tile(Rows chunk, const uint16_t* values, const LeftTiles& left, int64_t count, float* sums) {
    for (int64_t step = 0; step < chunk.steps; ++step) widen(values + step * left.step, left.row_bytes, count, left_ + step * kTileRows * kTileDepth);
    chunk.sums = sums;
    // 16 rows as 6 and twice 5, so that each group has enough sums to hide how long one takes.
    for (int64_t groups = (count + kRowsAtOnce - 1) / kRowsAtOnce; groups > 0; --groups) {
      const int64_t rows = (count + groups - 1) / groups;
      switch (rows) {
        case 6: add_rows<6>(chunk); break;
        case 5: add_rows<5>(chunk); break;
        case 4: add_rows<4>(chunk); break;
        case 3: add_rows<3>(chunk); break;
        case 2: add_rows<2>(chunk); break;
        default: add_rows<1>(chunk); break;
      }
      chunk.skip(rows);
      count -= rows;
    }
  }

  /// A tile's rows to fp32, pair by pair: values that are needed together lie together, or their loads would meet in one bank of the cache.
  GRAFT_TILES static void widen(const uint16_t* values, int64_t row_bytes, int64_t rows, float* to) {
    for (int64_t row = 0; row < rows; row += 4, to += 8) {
      const char* from[4];
      for (int64_t i = 0; i < 4; ++i) from[i] = reinterpret_cast<const char*>(values) + std::min(row + i, rows - 1) * row_bytes;
      for (int64_t column = 0; column < kTileDepth; column += 8) widen_4_rows(from, 2 * column, to + column / 2 * kPairStride);
    }
  }
  GRAFT_TILES_INLINE static void widen_4_rows(const char* const (&rows)[4], int64_t at, float* to) {
    __m256d r[4];
    for (int i = 0; i < 4; ++i) {
      const __m256i eight = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i] + at)));
      r[i] = _mm256_castsi256_pd(_mm256_slli_epi32(eight, 16));
    }
    const __m256d a = _mm256_unpacklo_pd(r[0], r[1]), b = _mm256_unpackhi_pd(r[0], r[1]);  // pairs 0 and 2, 1 and 3
    const __m256d c = _mm256_unpacklo_pd(r[2], r[3]), d = _mm256_unpackhi_pd(r[2], r[3]);
    _mm256_store_ps(to, _mm256_castpd_ps(_mm256_permute2f128_pd(a, c, 0x20)));
    _mm256_store_ps(to + kPairStride, _mm256_castpd_ps(_mm256_permute2f128_pd(b, d, 0x20)));
    _mm256_store_ps(to + 2 * kPairStride, _mm256_castpd_ps(_mm256_permute2f128_pd(a, c, 0x31)));
    _mm256_store_ps(to + 3 * kPairStride, _mm256_castpd_ps(_mm256_permute2f128_pd(b, d, 0x31)));
  }

  template <int kRows>
  GRAFT_TILES static void add_rows(const Rows& rows) {
    add_columns<kRows>(rows, rows.right.first, rows.sums);
    if (rows.right.columns > kTileRows) {
      add_columns<kRows>(rows, rows.right.second, rows.sums + rows.column_step);
    } else if (rows.fresh) {
      for (int64_t row = 0; row < kRows; ++row) std::fill_n(rows.sums + row * rows.sums_stride + rows.column_step, kTileRows, 0.0f);
    }
  }

  /// kRows rows x 16 columns. All loops over them are unrolled, or the sums would not stay in registers.
  template <int kRows>
  GRAFT_TILES static void add_columns(const Rows& rows, const uint16_t* right, float* to) {
    __m256 sums[kRows][2];
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      const float* from = to + i * rows.sums_stride;
      sums[i][0] = rows.fresh ? _mm256_setzero_ps() : _mm256_loadu_ps(from);
      sums[i][1] = rows.fresh ? _mm256_setzero_ps() : _mm256_loadu_ps(from + 8);
    }
    const float* left = rows.left;
    for (int64_t step = 0; step < rows.steps; ++step, right += rows.right.step, left += kTileRows * kTileDepth) {
      const int64_t pairs = step + 1 < rows.steps ? kTileDepth / 2 : rows.last_pairs;
      const float* value = left;
      const auto* pair = reinterpret_cast<const __m256i*>(right);
#pragma GCC unroll 1
      for (int64_t i = 0; i < pairs; ++i, value += kPairStride, pair += 2) {
        __m256 a = first_of_pairs(pair), b = first_of_pairs(pair + 1);
        multiply_rows<kRows>(value, a, b, sums);
        a = second_of_pairs(pair);
        b = second_of_pairs(pair + 1);
        multiply_rows<kRows>(value + 1, a, b, sums);
      }
    }
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      _mm256_storeu_ps(to + i * rows.sums_stride, sums[i][0]);
      _mm256_storeu_ps(to + i * rows.sums_stride + 8, sums[i][1]);
    }
  }

  // The 16 registers are just enough, but GCC moves sums about and keeps constants until it has to put some of them into memory. So these two
  // instructions are written out.

  GRAFT_TILES_INLINE static void add_product(__m256 a, __m256 b, __m256& sum) { __asm__("vfmadd231ps %1, %2, %0" : "+x"(sum) : "x"(a), "x"(b)); }

  GRAFT_TILES_INLINE static __m256 second_of_pairs(const __m256i* pairs) {
    alignas(32) static constexpr uint32_t kUpperHalves[8] = {0xffff0000u, 0xffff0000u, 0xffff0000u, 0xffff0000u,
                                                             0xffff0000u, 0xffff0000u, 0xffff0000u, 0xffff0000u};
    __m256 values = _mm256_loadu_ps(reinterpret_cast<const float*>(pairs));
    __asm__("vandps %1, %0, %0" : "+x"(values) : "m"(kUpperHalves));
    return values;
  }
  GRAFT_TILES_INLINE static __m256 first_of_pairs(const __m256i* pairs) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(pairs), 16));
  }

  template <int kRows>
  GRAFT_TILES_INLINE static void multiply_rows(const float* value, __m256 a, __m256 b, __m256 (&sums)[kRows][2]) {
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      const __m256 repeated = _mm256_broadcast_ss(value + 2 * i);
      add_product(repeated, a, sums[i][0]);
      add_product(repeated, b, sums[i][1]);
    }
  }

  int64_t upper_ = kTileRows, lower_ = kTileRows;
  SumTiles sums_{};
  bool fresh_ = true;
  alignas(64) float left_[kChunk * kTileRows * kTileDepth];
};

}  // namespace graft::kernels::inline GRAFT_TILE_SPACE

#endif
