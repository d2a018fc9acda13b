#pragma once

// Private to this folder: where a weight's blocks of 32 x 32 lie in packed memory.

#include <cstdint>

namespace graft::kernels::detail {

constexpr int64_t kBlock = 32;                        ///< outputs and inputs of a block
constexpr int64_t kBlockSize = kBlock * kBlock;       ///< values; two tiles, 16 outputs each
constexpr int64_t kTileSize = kBlockSize / 2;
constexpr int64_t kLargestRank = 1024;

constexpr int64_t blocks_for(int64_t size) { return (size + kBlock - 1) / kBlock; }

/// Part `index` of `parts` almost equal ones of [0, total).
struct Range {
  int64_t begin, end;
};
constexpr Range part_of(int64_t total, int64_t index, int64_t parts) { return {total * index / parts, total * (index + 1) / parts}; }

}  // namespace graft::kernels::detail
