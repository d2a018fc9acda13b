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

  /// Many products to come have this left operand, `steps` long, both tiles of it or the upper one, and find it as it is now.
  GRAFT_TILES void keep(const LeftTiles& left, int64_t steps, bool both) {
    kept_ = {left.upper, steps, memory().reserve(static_cast<size_t>(2 * steps * kTileValues))};
    for (int64_t step = 0; step < steps; ++step) {
      widen(left.upper + step * left.step, left.row_bytes, upper_, kept_.of(0, step));
      if (both) widen(left.lower + step * left.step, left.row_bytes, lower_, kept_.of(1, step));
    }
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
  static constexpr int64_t kTileValues = kTileRows * kTileDepth;
  static constexpr int64_t kChunk = 4;  ///< steps of both operands that stay in the first cache
  static constexpr int64_t kRowsAtOnce = 6;

  /// A left operand in fp32: [upper, lower tile][step][16 rows][32 values].
  struct Kept {
    const uint16_t* upper = nullptr;
    int64_t steps = 0;
    float* values = nullptr;
    float* of(int64_t tile, int64_t step) const { return values + (tile * steps + step) * kTileValues; }
  };
  static AlignedBuffer<float>& memory() {
    static thread_local AlignedBuffer<float> memory;
    return memory;
  }

  /// Some rows of one tile of the left operand in fp32, [step][16 rows][32 values], times the right operand's chunk.
  struct Rows {
    const float* left;
    RightTiles right;
    int64_t steps, last_pairs;
    float* sums;
    int64_t sums_stride, column_step;
    bool fresh;

    void skip(int64_t count) {
      left += count * kTileDepth;
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
  GRAFT_TILES __attribute__((noinline)) void add_tiles(const LeftTiles& left, RightTiles right, int64_t steps, int64_t lower) {
    const bool kept = left.upper == kept_.upper && steps == kept_.steps;
    for (int64_t first = 0; first < steps; first += kChunk) {
      const int64_t count = std::min(kChunk, steps - first), last_pairs = first + count == steps ? right.last_pairs : kTileDepth / 2;
      Rows chunk{nullptr, right, count, last_pairs, nullptr, sums_.row_bytes / static_cast<int64_t>(sizeof(float)), sums_.column_step,
                 fresh_ && first == 0};
      chunk.left = kept ? kept_.of(0, first) : widen_steps(left.upper + first * left.step, left, count, upper_);
      chunk.sums = sums_.upper;
      add_tile(chunk, upper_);
      if (lower > 0) {
        chunk.left = kept ? kept_.of(1, first) : widen_steps(left.lower + first * left.step, left, count, lower);
        chunk.sums = sums_.lower;
        add_tile(chunk, lower);
      }
      right.first += count * right.step;
      right.second += count * right.step;
    }
  }

  /// 16 rows as 6 and twice 5, so that each group has enough sums to hide how long one takes.
  GRAFT_TILES static void add_tile(Rows rows, int64_t count) {
    for (int64_t groups = (count + kRowsAtOnce - 1) / kRowsAtOnce; groups > 0; --groups) {
      const int64_t group = (count + groups - 1) / groups;
      switch (group) {
        case 6: add_rows<6>(rows); break;
        case 5: add_rows<5>(rows); break;
        case 4: add_rows<4>(rows); break;
        case 3: add_rows<3>(rows); break;
        case 2: add_rows<2>(rows); break;
        default: add_rows<1>(rows); break;
      }
      rows.skip(group);
      count -= group;
    }
  }

  GRAFT_TILES const float* widen_steps(const uint16_t* values, const LeftTiles& left, int64_t steps, int64_t rows) {
    for (int64_t step = 0; step < steps; ++step) widen(values + step * left.step, left.row_bytes, rows, left_ + step * kTileValues);
    return left_;
  }

  GRAFT_TILES static void widen(const uint16_t* values, int64_t row_bytes, int64_t rows, float* to) {
    for (int64_t row = 0; row < rows; ++row, to += kTileDepth) {
      const auto* from = reinterpret_cast<const __m128i*>(reinterpret_cast<const char*>(values) + row * row_bytes);
      for (int64_t i = 0; i < kTileDepth / 8; ++i) {
        const __m256i eight = _mm256_cvtepu16_epi32(_mm_loadu_si128(from + i));
        _mm256_store_ps(to + 8 * i, _mm256_castsi256_ps(_mm256_slli_epi32(eight, 16)));
      }
    }
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
    for (int64_t step = 0; step < rows.steps; ++step, right += rows.right.step, left += kTileValues) {
      const int64_t pairs = step + 1 < rows.steps ? kTileDepth / 2 : rows.last_pairs;
      const float* value = left;
      const auto* pair = reinterpret_cast<const __m256i*>(right);
#pragma GCC unroll 1
      for (int64_t i = 0; i < pairs; ++i, value += 2, pair += 2) {
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
      const __m256 repeated = _mm256_broadcast_ss(value + i * kTileDepth);
      add_product(repeated, a, sums[i][0]);
      add_product(repeated, b, sums[i][1]);
    }
  }

  int64_t upper_ = kTileRows, lower_ = kTileRows;
  SumTiles sums_{};
  bool fresh_ = true;
  Kept kept_;
  alignas(64) float left_[kChunk * kTileValues];
};

}  // namespace graft::kernels::inline GRAFT_TILE_SPACE

#endif
