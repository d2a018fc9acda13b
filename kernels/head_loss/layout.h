#pragma once

// Private to this folder: sizes of the blocks that the computation is cut into.

#include <algorithm>
#include <cstdint>

namespace graft::kernels::detail {

constexpr int64_t kRowBlock = 32;     ///< hidden rows whose logits are computed together, one a lane
constexpr int64_t kGranule = 32;      ///< words whose logits are computed together
constexpr int64_t kParts = 2;         ///< each walk over the vocabulary has two halves with sums of their own, for two threads or for one
constexpr int64_t kMostWords = 1024;  ///< of a part
constexpr int64_t kWordTile = 512;    ///< bf16 values of a tile
constexpr int64_t kSumTile = 256;     ///< fp32 values of a tile

constexpr int64_t blocks_of_32(int64_t size) { return (size + 31) / 32; }

/// Words of one part of a round: both orders of them stay in a second cache of 2 MiB while all rows pass, but there are so many that a
/// gradient block is not fetched too often.
constexpr int64_t words_of_part(int64_t width) {
  constexpr int64_t kBytes = 1200 << 10;
  return std::clamp<int64_t>(kBytes / (4 * 32 * blocks_of_32(width)) / kGranule, 4, kMostWords / kGranule) * kGranule;
}

/// What is known about 32 rows after some of the words of one part. Logits are counted in powers of two: p = 2^(z log2e − shift).
struct alignas(64) PartState {
  float shift[kRowBlock];   ///< not the maximum, but so near it that no p is too large or too small
  float sum[kRowBlock];     ///< Σ p
  float top[kRowBlock];     ///< largest logit
  float error[kRowBlock];   ///< what rounding to bf16 took from the target's p
  int32_t best[kRowBlock];  ///< first word with the largest logit
  float target[kRowBlock];  ///< the target's logit; 0 while it was not among the words
};

struct alignas(64) BlockState {
  PartState parts[kParts];
  uint32_t finite;  ///< bit i: row i
};

/// Where everything lies in scratch memory, in bytes from its start.
struct ScratchPlan {
  int64_t hidden, states, words, transposed, sums, end;

  constexpr ScratchPlan(int64_t rows, int64_t width, bool gradient)
      : hidden(0), states(blocks_of_32(rows) * blocks_of_32(width) * 4 * kWordTile),
        words(states + blocks_of_32(rows) * static_cast<int64_t>(sizeof(BlockState))),
        transposed(words + part_bytes(width) * kParts), sums(transposed + (gradient ? part_bytes(width) * kParts : 0)),
        end(sums + (gradient ? kParts * blocks_of_32(rows) * sums_bytes(width) : 0)) {}

  static constexpr int64_t part_bytes(int64_t width) { return words_of_part(width) * blocks_of_32(width) * 64; }
  static constexpr int64_t sums_bytes(int64_t width) { return blocks_of_32(width) * 16 * kSumTile; }
};

}  // namespace graft::kernels::detail
