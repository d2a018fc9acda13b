#pragma once

// Private to the tile variants: compiled for AVX-512 and for AVX2.

#include <omp.h>

#include <algorithm>

#include "kernels/packed_linear/packing.h"
#include "kernels/packed_linear/variants.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail::inline GRAFT_TILE_SPACE {
namespace {

/// 32 outputs x 32 inputs, row-major: a pair of inputs moves as one.
GRAFT_TILES void pack_block(const uint16_t* source, int64_t stride, uint16_t* block) {
  transpose_16(source, stride * 2, block);
  transpose_16(source + 16 * stride, stride * 2, block + kTileSize);
}

/// 32 inputs x 32 outputs, row-major: the pairs come from two rows.
GRAFT_TILES void pack_block_transposed(const uint16_t* source, int64_t stride, uint16_t* block) {
  for (int64_t pair = 0; pair < 16; ++pair) {
    const __m512i even = _mm512_loadu_si512(source + 2 * pair * stride), odd = _mm512_loadu_si512(source + (2 * pair + 1) * stride);
    const auto interleaved = interleave(even, odd);
    _mm512_storeu_si512(block + 32 * pair, interleaved.first);
    _mm512_storeu_si512(block + kTileSize + 32 * pair, interleaved.second);
  }
}

/// A block that ends early, filled up with zeros.
GRAFT_TILES const uint16_t* padded_block(const uint16_t* source, int64_t stride, int64_t rows, int64_t columns, uint16_t* scratch) {
  const __mmask32 mask = first_of_32(columns);
  for (int64_t row = 0; row < kBlock; ++row) {
    const __m512i values = row < rows ? _mm512_maskz_loadu_epi16(mask, source + row * stride) : _mm512_setzero_si512();
    _mm512_store_si512(scratch + row * kBlock, values);
  }
  return scratch;
}

/// One block of 32 rows of W, all its columns, to either order.
GRAFT_TILES void pack_rows(const WeightRows& rows, int64_t block_row, int64_t out, int64_t in, bool transposed, uint16_t* packed) {
  alignas(64) uint16_t scratch[kBlockSize];
  const int64_t count = std::min(kBlock, rows.count - block_row * kBlock), n_block = rows.first / kBlock + block_row;
  for (int64_t k_block = 0; k_block < blocks_for(in); ++k_block) {
    const uint16_t* source = rows.values + block_row * kBlock * rows.stride + k_block * kBlock;
    const int64_t columns = std::min(kBlock, in - k_block * kBlock);
    const bool whole = count == kBlock && columns == kBlock;
    const uint16_t* from = whole ? source : padded_block(source, rows.stride, count, columns, scratch);
    const int64_t stride = whole ? rows.stride : kBlock;
    if (transposed) {
      pack_block_transposed(from, stride, packed + (k_block * blocks_for(out) + n_block) * kBlockSize);
    } else {
      pack_block(from, stride, packed + (n_block * blocks_for(in) + k_block) * kBlockSize);
    }
  }
}

void pack_all_rows(const WeightRows& rows, int64_t out, int64_t in, bool transposed, uint16_t* packed) {
  const int64_t blocks = blocks_for(rows.count);
#pragma omp parallel for schedule(static) if (blocks > 1 && rows.count * in > 65536)
  for (int64_t block = 0; block < blocks; ++block) pack_rows(rows, block, out, in, transposed, packed);
}

/// A block of 32 x 32 values of a factor, along the direction in which they are contiguous. `lines` x `length` of them exist.
struct FactorBlock {
  const Factor& factor;
  int64_t first, stride, lines, length;

  /// 32 values, rounded after scaling; zeros for those that do not exist.
  GRAFT_TILES_INLINE __m512i line(int64_t number) const {
    if (number >= lines) return _mm512_setzero_si512();
    const __mmask16 low = first_of_16(length), high = first_of_16(length - 16);
    __m512 a, b;
    if (factor.fp32 != nullptr) {
      const float* source = factor.fp32 + first + number * stride;
      a = _mm512_maskz_loadu_ps(low, source);
      b = _mm512_maskz_loadu_ps(high, source + 16);
    } else {
      const uint16_t* source = factor.bf16 + first + number * stride;
      a = widen_bfloat16(_mm256_maskz_loadu_epi16(low, source));
      b = widen_bfloat16(_mm256_maskz_loadu_epi16(high, source + 16));
    }
    const __m512 scale = _mm512_set1_ps(factor.scale);
    return round_to_bfloat16(_mm512_mul_ps(a, scale), _mm512_mul_ps(b, scale));
  }
};

/// Lines are outputs: a pair of inputs moves as one.
GRAFT_TILES void pack_lines(const FactorBlock& block, uint16_t* packed) {
  for (int64_t tile = 0; tile < 2; ++tile) {
    __m512i rows[16];
    for (int64_t i = 0; i < 16; ++i) rows[i] = block.line(16 * tile + i);
    transpose_16(rows, packed + tile * kTileSize);
  }
}

/// Lines are inputs: the pairs come from two of them.
GRAFT_TILES void pack_lines_transposed(const FactorBlock& block, uint16_t* packed) {
  for (int64_t pair = 0; pair < 16; ++pair) {
    const Pairs pairs = interleave(block.line(2 * pair), block.line(2 * pair + 1));
    _mm512_store_si512(packed + 32 * pair, pairs.first);
    _mm512_store_si512(packed + kTileSize + 32 * pair, pairs.second);
  }
}

constexpr int64_t kSegment = 512;  // columns of a stored weight that are expanded at a time: 32 rows of them stay in the first caches

int64_t segment_for(const StoredWeight& stored) { return std::max<int64_t>(kSegment / stored.column_unit, 1) * stored.column_unit; }

/// 32 rows of a stored weight, in whole units of columns.
struct Strip {
  const uint16_t* values;
  int64_t stride, rows, first_column, columns;
};

/// The block of a strip that begins at `column`, to either order.
GRAFT_TILES_INLINE void pack_strip_block(const Strip& strip, int64_t column, bool transposed, uint16_t* packed) {
  alignas(64) uint16_t scratch[kBlockSize];
  const uint16_t* from = strip.values + column - strip.first_column;
  const int64_t columns = strip.first_column + strip.columns - column;
  int64_t stride = strip.stride;
  if (strip.rows < kBlock || columns < kBlock) {
    from = padded_block(from, stride, strip.rows, columns, scratch);
    stride = kBlock;
  }
  if (transposed) {
    pack_block_transposed(from, stride, packed);
  } else {
    pack_block(from, stride, packed);
  }
}

/// One 128-bit lane of every second of 8 lines.
GRAFT_TILES_INLINE __m512i lane_of_lines(const uint16_t* lines, int64_t lane) {
  const auto* lanes = reinterpret_cast<const __m128i*>(lines) + lane;
  __m512i all = _mm512_castsi128_si512(_mm_loadu_si128(lanes));
  all = _mm512_inserti64x2(all, _mm_loadu_si128(lanes + 8), 1);
  all = _mm512_inserti64x2(all, _mm_loadu_si128(lanes + 16), 2);
  return _mm512_inserti64x2(all, _mm_loadu_si128(lanes + 24), 3);
}

/// Half a tile, 8 lines, holds 16 rows of 16 columns as pairs along the columns; so does half a tile of the turned order, pairs along the rows.
/// Between them, quadruples (2 rows, 2 columns) are turned, and the 8 x 8 quadruples transposed.
GRAFT_TILES_INLINE void turn_half_tile(const uint16_t* lines, uint16_t* turned) {
  const __m512i quadruple = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
  for (int64_t lane = 0; lane < 4; ++lane, turned += 64) {
    const __m512i even = _mm512_shuffle_epi8(lane_of_lines(lines, lane), quadruple);
    const __m512i odd = _mm512_shuffle_epi8(lane_of_lines(lines + 32, lane), quadruple);
    _mm512_store_si512(turned, _mm512_unpacklo_epi64(even, odd));
    _mm512_store_si512(turned + 32, _mm512_unpackhi_epi64(even, odd));
  }
}

}  // namespace

GRAFT_TILES void turn_panel(const uint16_t* weight, int64_t out, const Panel& panel, uint16_t* packed) {
  constexpr int64_t kHalf = kTileSize / 2;
  const int64_t steps = panel.steps.end - panel.steps.begin;
  for (int64_t step = panel.steps.begin; step < panel.steps.end; ++step) {
    for (int64_t output = panel.outputs.begin; output < panel.outputs.end; ++output) {
      const uint16_t* block = weight + (step * blocks_for(out) + output) * kBlockSize;
      uint16_t* turned = packed + ((output - panel.outputs.begin) * steps + step - panel.steps.begin) * kBlockSize;
      turn_half_tile(block, turned);
      turn_half_tile(block + kHalf, turned + kTileSize);
      turn_half_tile(block + kTileSize, turned + kHalf);
      turn_half_tile(block + kTileSize + kHalf, turned + kTileSize + kHalf);
    }
  }
}

int64_t expansion_size(const StoredWeight& stored) { return kBlock * (segment_for(stored) + kBlock); }

GRAFT_TILES void expand_panel(const StoredWeight& stored, int64_t in, int64_t out, const Panel& panel, uint16_t* scratch, uint16_t* packed) {
  const bool turned = stored.transposed;
  const int64_t all_rows = turned ? in : out, all_columns = turned ? out : in, segment = segment_for(stored);
  const Range rows = turned ? panel.steps : panel.outputs, columns = turned ? panel.outputs : panel.steps;
  const int64_t row_step = turned ? kBlockSize : (panel.steps.end - panel.steps.begin) * kBlockSize;
  const int64_t column_step = turned ? (panel.steps.end - panel.steps.begin) * kBlockSize : kBlockSize;
  const int64_t first = columns.begin * kBlock / stored.column_unit * stored.column_unit, last = std::min(columns.end * kBlock, all_columns);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t begin = first; begin < last; begin += segment) {
      const int64_t units = (std::min(begin + segment, last) - begin + stored.column_unit - 1) / stored.column_unit;
      const int64_t width = std::min(units * stored.column_unit, all_columns - begin);
      // A stride that is no power of two spreads the rows over the sets of the first cache.
      const Strip strip{scratch, segment + kBlock, std::min(kBlock, all_rows - row * kBlock), begin, width};
      stored.expand(stored.weight, {row * kBlock, strip.rows, begin, width}, scratch, strip.stride);
      const int64_t block_end = std::min(columns.end, blocks_for(begin + width));
      for (int64_t block = std::max(columns.begin, begin / kBlock); block < block_end; ++block) {
        pack_strip_block(strip, block * kBlock, turned,
                         packed + (row - rows.begin) * row_step + (block - columns.begin) * column_step);
      }
    }
  }
}

GRAFT_TILES void pack_factor(const Factor& factor, int64_t rows, int64_t columns, const Panel& panel, uint16_t* packed) {
  for (int64_t row = panel.outputs.begin * kBlock; row < panel.outputs.end * kBlock; row += kBlock) {
    for (int64_t column = panel.steps.begin * kBlock; column < panel.steps.end * kBlock; column += kBlock, packed += kBlockSize) {
      const int64_t first = row * factor.row_stride + column * factor.column_stride;
      if (factor.column_stride == 1) {
        pack_lines({factor, first, factor.row_stride, rows - row, columns - column}, packed);
      } else {
        pack_lines_transposed({factor, first, factor.column_stride, columns - column, rows - row}, packed);
      }
    }
  }
}

}  // namespace graft::kernels::detail::inline GRAFT_TILE_SPACE

#endif
