#pragma once

// Private to the tile variants: compiled for AVX-512 and for AVX2.

#include <omp.h>

#include <algorithm>

#include "kernels/packed_linear/layout.h"
#include "kernels/packed_linear/variants.h"
#include "kernels/tiles/aligned_buffer.h"
#include "kernels/tiles/tiles.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail::inline GRAFT_TILE_SPACE {
namespace {

constexpr int64_t kLongestChunk = 128;
constexpr int64_t kSumTile = kTileRows * kTileRows;

/// Rows that are added up before the sums go back to memory. 32 rows are as many streams as the processor prefetches; for large
/// ranks the traffic of the sums counts more.
int64_t chunk_for(int64_t rank) { return rank <= 64 ? 32 : kLongestChunk; }

/// narrowᵀ, padded with zeros: [rows/32][rank/32][2 tiles][16 of the rank][32 rows].
GRAFT_TILES void transpose_narrow(const FactorGradient& p, int64_t row_block, uint16_t* target) {
  alignas(64) uint16_t pairs[kBlockSize];
  for (int64_t block = 0; block < blocks_for(p.rank); ++block) {
    const __mmask32 mask = first_of_32(p.rank - block * kBlock);
    for (int64_t pair = 0; pair < 16; ++pair) {
      const int64_t row = row_block * kBlock + 2 * pair;
      const uint16_t* at = p.narrow + row * p.narrow_stride + block * kBlock;
      const __m512i even = row < p.rows ? _mm512_maskz_loadu_epi16(mask, at) : _mm512_setzero_si512();
      const __m512i odd = row + 1 < p.rows ? _mm512_maskz_loadu_epi16(mask, at + p.narrow_stride) : _mm512_setzero_si512();
      const Pairs both = interleave(even, odd);
      _mm512_store_si512(pairs + 32 * pair, both.first);
      _mm512_store_si512(pairs + kTileSize + 32 * pair, both.second);
    }
    uint16_t* tiles = target + (row_block * blocks_for(p.rank) + block) * kBlockSize;
    transpose_16(pairs, kTileBytes, tiles);
    transpose_16(pairs + kTileSize, kTileBytes, tiles + kTileSize);
  }
}

/// The address is computed as a number: it need not lie in the matrix.
GRAFT_TILES_INLINE void prefetch(const uint16_t* from, int64_t bytes) {
  _mm_prefetch(reinterpret_cast<const char*>(reinterpret_cast<uintptr_t>(from) + static_cast<uintptr_t>(bytes)), _MM_HINT_T0);
}

struct Scratch {
  AlignedBuffer<uint16_t> pairs;
  AlignedBuffer<float> sums;
};

template <class Tiles>
class ColumnGradient {
 public:
  ColumnGradient(const FactorGradient& p, const uint16_t* narrow, const Range& strips, Scratch& scratch)
      : p_(p), narrow_(narrow), strips_(strips), rank_blocks_(blocks_for(p.rank)), chunk_(chunk_for(p.rank)) {
    pairs_ = scratch.pairs.reserve(kLongestChunk / kBlock * kBlockSize);
    sums_ = scratch.sums.zeroed(static_cast<size_t>((strips.end - strips.begin) * rank_blocks_ * kBlockSize));
  }

  GRAFT_TILES void run() {
    {
      Tiles tiles;
      for (int64_t row = 0; row < p_.rows; row += chunk_) {
        for (int64_t strip = strips_.begin; strip < strips_.end; ++strip) add_chunk(tiles, row, strip);
      }
    }
    for (int64_t strip = strips_.begin; strip < strips_.end; ++strip) write_strip(strip);
  }

 private:
  float* sums_of(int64_t strip, int64_t rank_block) { return sums_ + ((strip - strips_.begin) * rank_blocks_ + rank_block) * kBlockSize; }

  GRAFT_TILES void add_chunk(Tiles& tiles, int64_t row, int64_t strip) {
    const int64_t steps = std::min(chunk_ / kBlock, blocks_for(p_.rows - row));
    pair_rows(row, strip, steps);
    for (int64_t block = 0; block < rank_blocks_; ++block) {
      const uint16_t* narrow = narrow_ + (row / kBlock * rank_blocks_ + block) * kBlockSize;
      if (p_.rank - block * kBlock > kTileRows) {
        multiply<true>(tiles, narrow, steps, sums_of(strip, block));
      } else {
        multiply<false>(tiles, narrow, steps, sums_of(strip, block));
      }
    }
  }

  /// 32 columns of the wide matrix as right-hand tiles.
  GRAFT_TILES void pair_rows(int64_t first, int64_t strip, int64_t steps) {
    const __mmask32 mask = first_of_32(p_.columns - strip * kBlock);
    const uint16_t* source = p_.wide + first * p_.wide_stride + strip * kBlock;
    // The next strip of the same rows; at the end of the rows the first strip of the next ones. May point past the end.
    const int64_t ahead = 2 * (strip + 1 < strips_.end ? kBlock : chunk_ * p_.wide_stride - (strip - strips_.begin) * kBlock);
    for (int64_t pair = 0; pair < steps * 16; ++pair) {
      const int64_t left = p_.rows - first - 2 * pair;
      const uint16_t* at = source + 2 * pair * p_.wide_stride;
      prefetch(at, ahead);
      prefetch(at + p_.wide_stride, ahead);
      const __m512i even = left > 0 ? _mm512_maskz_loadu_epi16(mask, at) : _mm512_setzero_si512();
      const __m512i odd = left > 1 ? _mm512_maskz_loadu_epi16(mask, at + p_.wide_stride) : _mm512_setzero_si512();
      const Pairs pairs = interleave(even, odd);
      uint16_t* target = pairs_ + pair / 16 * kBlockSize + pair % 16 * 32;
      _mm512_store_si512(target, pairs.first);
      _mm512_store_si512(target + kTileSize, pairs.second);
    }
    before_tile_loads();
  }

  /// sums (32, 32), each of its four tiles on its own, += narrowᵀ wide; only the upper 16 rows unless kBoth.
  template <bool kBoth>
  GRAFT_TILES void multiply(Tiles& tiles, const uint16_t* narrow, int64_t steps, float* sums) {
    tiles.template begin<kBoth>({sums, sums + 2 * kSumTile, kSumTile}, /*fresh=*/false);
    const LeftTiles left{narrow, narrow + kTileSize, rank_blocks_ * kBlockSize};
    tiles.template add<Passing::kNone, kBoth>(left, {pairs_, pairs_ + kTileSize, kBlockSize}, steps);
    tiles.template finish<kBoth>();
  }

  /// One tile of 16 (of the rank) x 16 (columns), either way.
  GRAFT_TILES void write_tile(const float* sums, int64_t j, int64_t column) {
    alignas(64) float turned[256];
    if (p_.transposed) transpose_16(sums, kTileBytes, turned);
    const float* source = p_.transposed ? turned : sums;
    const int64_t lines = p_.transposed ? p_.columns - column : p_.rank - j, length = p_.transposed ? p_.rank - j : p_.columns - column;
    float* out = p_.out + (p_.transposed ? column * p_.out_stride + j : j * p_.out_stride + column);
    const __mmask16 mask = first_of_16(length);
    const __m512 scale = _mm512_set1_ps(p_.scale);
    for (int64_t line = 0; line < std::min(lines, kTileRows); ++line, out += p_.out_stride) {
      __m512 values = _mm512_mul_ps(_mm512_loadu_ps(source + 16 * line), scale);
      if (p_.accumulate) values = _mm512_add_ps(values, _mm512_maskz_loadu_ps(mask, out));
      _mm512_mask_storeu_ps(out, mask, values);
    }
  }

  GRAFT_TILES void write_strip(int64_t strip) {
    for (int64_t j = 0; j < p_.rank; j += kTileRows) {
      for (int64_t column = strip * kBlock; column < std::min((strip + 1) * kBlock, p_.columns); column += kTileRows) {
        write_tile(sums_of(strip, j / kBlock) + j % kBlock * kBlock + column % kBlock * 16, j, column);
      }
    }
  }

  const FactorGradient& p_;
  const uint16_t* narrow_;
  const Range strips_;
  const int64_t rank_blocks_, chunk_;
  uint16_t* pairs_ = nullptr;
  float* sums_ = nullptr;
};

template <class Tiles>
void gradient(const FactorGradient& p) {
  static thread_local AlignedBuffer<uint16_t> buffer;
  const int64_t row_blocks = blocks_for(p.rows), strips = blocks_for(p.columns);
  uint16_t* narrow = buffer.reserve(static_cast<size_t>(packed_weight_size(p.rows, p.rank)));
#pragma omp parallel if (p.rows * p.columns > 65536)
  {
    static thread_local Scratch scratch;
#pragma omp for schedule(static)
    for (int64_t block = 0; block < row_blocks; ++block) transpose_narrow(p, block, narrow);
    const Range mine = part_of(strips, omp_get_thread_num(), omp_get_num_threads());
    if (mine.begin < mine.end) ColumnGradient<Tiles>(p, narrow, mine, scratch).run();
  }
}

}  // namespace
}  // namespace graft::kernels::detail::inline GRAFT_TILE_SPACE

#endif
