#pragma once

#include <cstddef>
#include <cstdint>

namespace graft::peft {

/// From here on LibTorch's large CPU blocks (256 KiB and more) come from a cache of freed ones. A training step takes and frees the same
/// blocks again and again: given back to the system each time, its clearing of pages takes as long as the arithmetic; left on the C
/// library's heap, batches of uneven length cut it up until it is twice as large as what it holds.
///
/// A request takes the smallest cached block that is at most a quarter too large. Where none fits, the system
/// is asked; before that, cached blocks go back to it, longest unused first, until all together stay near the largest need so far.
/// Call it once, before the first tensor. Thread-safe afterwards.
void use_block_cache();

struct BlockCacheFigures {
  int64_t live_bytes = 0, cached_bytes = 0;  ///< of large blocks
  int64_t hits = 0, misses = 0;              ///< requests
};
BlockCacheFigures block_cache_figures();

}  // namespace graft::peft
