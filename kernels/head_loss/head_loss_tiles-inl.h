#pragma once

// Private to the tile variants: compiled for AVX-512 and for AVX2.

#include <omp.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "kernels/head_loss/packing.h"
#include "kernels/head_loss/part_walk.h"
#include "kernels/head_loss/results.h"
#include "kernels/head_loss/variants.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail::inline GRAFT_TILE_SPACE {
namespace {

/// The words that one call of the source gave: the first half is part 0, the second part 1. Which words belong to which part depends on
/// sizes only, and so do all sums.
struct Round {
  WordRows rows;
  int64_t first, count;

  int64_t half() const { return (blocks_of_32(count) + 1) / 2 * kGranule; }
  int64_t begin(int64_t part) const { return std::min(count, part * half()); }
  int64_t words(int64_t part) const { return begin(part + 1) - begin(part); }
};

template <class Tiles>
class Walk {
 public:
  Walk(const HeadLoss& p, uint8_t* scratch)
      : p_(p), plan_(p.rows, p.width, p.gradient != nullptr), steps_(blocks_of_32(p.width)), blocks_(blocks_of_32(p.rows)),
        scratch_(scratch) {}

  void run() {
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < blocks_; ++block) begin_block(block);
    const int64_t at_once = head_loss_words_at_once(p_.width);
    for (int64_t first = 0; first < p_.vocabulary; first += at_once) {
      const int64_t count = std::min(at_once, p_.vocabulary - first);
      run_round({p_.words(first, count), first, count});
    }
    const int64_t parts = p_.vocabulary > kGranule ? kParts : 1;
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < blocks_; ++block) finish_block(block, parts);
  }

 private:
  template <class T>
  T* at(int64_t bytes) const {
    return reinterpret_cast<T*>(scratch_ + bytes);
  }
  uint16_t* hidden(int64_t block) const { return at<uint16_t>(plan_.hidden) + block * steps_ * 2 * kWordTile; }
  BlockState& state(int64_t block) const { return at<BlockState>(plan_.states)[block]; }
  uint16_t* words(int64_t part) const { return at<uint16_t>(plan_.words + part * ScratchPlan::part_bytes(p_.width)); }
  uint16_t* transposed(int64_t part) const {
    return p_.gradient != nullptr ? at<uint16_t>(plan_.transposed + part * ScratchPlan::part_bytes(p_.width)) : nullptr;
  }
  float* sums(int64_t part, int64_t block) const {
    return p_.gradient != nullptr ? at<float>(plan_.sums + (part * blocks_ + block) * ScratchPlan::sums_bytes(p_.width)) : nullptr;
  }

  void begin_block(int64_t block) {
    BlockState& s = state(block);
    std::memset(&s, 0, sizeof(s));
    for (auto& part : s.parts) std::fill_n(part.top, kRowBlock, -std::numeric_limits<float>::infinity());
    const int64_t first = block * kRowBlock;
    const uint16_t* rows = p_.hidden + first * p_.hidden_stride;
    s.finite = pack_hidden(rows, p_.hidden_stride, std::min(kRowBlock, p_.rows - first), p_.width, hidden(block));
  }

  /// Two threads: one part each, which they have packed themselves. More: they share the rows, too.
  void run_round(const Round& round) {
    const int64_t granules = blocks_of_32(round.count);
#pragma omp parallel
    {
      const int64_t threads = omp_get_num_threads();
      const int64_t ranges = std::clamp<int64_t>(threads % kParts == 0 ? threads / kParts : threads, 1, blocks_);
      Tiles tiles;
#pragma omp for schedule(static)
      for (int64_t granule = 0; granule < granules; ++granule) pack(round, granule);
#pragma omp for schedule(static)
      for (int64_t unit = 0; unit < kParts * ranges; ++unit) {
        const int64_t part = unit / ranges, range = unit % ranges;
        if (round.words(part) > 0) run_blocks(tiles, round, part, blocks_ * range / ranges, blocks_ * (range + 1) / ranges);
      }
    }
  }

  void pack(const Round& round, int64_t granule) {
    const int64_t part = granule * kGranule >= round.half() ? 1 : 0;
    const int64_t place = granule - round.begin(part) / kGranule, in_part = blocks_of_32(round.words(part));
    const uint16_t* from = round.rows.values + granule * kGranule * round.rows.stride;
    uint16_t *straight = words(part) + place * steps_ * 2 * kWordTile, *across = transposed(part);
    if (across != nullptr) across += place * 2 * kWordTile;
    const int64_t count = std::min(kGranule, round.count - granule * kGranule);
    pack_words(from, round.rows.stride, count, p_.width, straight, across, in_part * 2 * kWordTile);
  }

  void run_blocks(Tiles& tiles, const Round& round, int64_t part, int64_t begin, int64_t end) {
    BlockWork work;
    const int64_t count = round.words(part);
    const PartWords of_part{.straight = words(part),
                            .transposed = transposed(part),
                            .first = round.first + round.begin(part),
                            .count = count,
                            .granules = blocks_of_32(count),
                            .steps = steps_,
                            .opening = round.first == 0};
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kRowBlock;
      const TargetsHere targets(p_.targets + first, std::min(kRowBlock, p_.rows - first), of_part);
      run_one(tiles, of_part, targets, part, block, work);
      if (p_.gradient != nullptr && targets.rows != 0) keep_target_words(round, targets, part, first);
    }
  }

  void run_one(Tiles& tiles, const PartWords& of_part, const TargetsHere& targets, int64_t part, int64_t block, BlockWork& work) {
    const auto run = p_.gradient != nullptr ? (p_.best != nullptr ? run_block<true, true, Tiles> : run_block<true, false, Tiles>)
                                            : (p_.best != nullptr ? run_block<false, true, Tiles> : run_block<false, false, Tiles>);
    run(tiles, of_part, hidden(block), block + 1 == blocks_, targets, state(block).parts[part], sums(part, block), work);
  }

  /// W[target] waits in the gradient's memory for the end, since its rows are gone after this round.
  void keep_target_words(const Round& round, const TargetsHere& targets, int64_t part, int64_t first) {
    for (uint32_t rest = targets.rows; rest != 0; rest &= rest - 1) {
      const int64_t row = std::countr_zero(rest), word = round.begin(part) + targets.word[row];
      std::memcpy(p_.gradient + (first + row) * p_.gradient_stride, round.rows.values + word * round.rows.stride,
                  static_cast<size_t>(p_.width) * sizeof(uint16_t));
    }
  }

  void finish_block(int64_t block, int64_t parts) {
    const BlockState& s = state(block);
    const int64_t first = block * kRowBlock;
    BlockResult result{};
    for (int64_t row = 0; row < std::min(kRowBlock, p_.rows - first); ++row) finish_row(p_, s, first, row, parts, result);
    if (p_.gradient == nullptr) return;
    const int64_t pitch = blocks_ * ScratchPlan::sums_bytes(p_.width) / static_cast<int64_t>(sizeof(float));
    write_gradient(p_, s, first, sums(0, block), pitch, parts, result);
  }

  const HeadLoss& p_;
  const ScratchPlan plan_;
  const int64_t steps_, blocks_;
  uint8_t* scratch_;
};

template <class Tiles>
void walk(const HeadLoss& p) {
  static thread_local AlignedBuffer<uint8_t> memory;
  Walk<Tiles>(p, memory.reserve(static_cast<size_t>(head_loss_scratch(p.rows, p.width, p.gradient != nullptr)))).run();
}

}  // namespace
}  // namespace graft::kernels::detail::inline GRAFT_TILE_SPACE

#endif
