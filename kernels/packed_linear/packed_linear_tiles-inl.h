#pragma once

// Private to the tile variants: compiled for AVX-512 and for AVX2.

#include <omp.h>

#include <algorithm>

#include "kernels/packed_linear/block_product.h"
#include "kernels/packed_linear/packing.h"
#include "kernels/packed_linear/variants.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail::inline GRAFT_TILE_SPACE {
namespace {

/// How a thread walks through its part, in blocks of 32: outputs in panels, rows in groups, a long reduction in chunks for which the rows of x
/// stay in the first cache. For each panel, each group and each chunk: all rows of the group times all outputs of the panel.
struct Plan {
  int64_t chunk, panel, group;
};

/// Measured on a processor with 48 KiB of first and 2 MiB of second cache. Where chunks end depends on the length of the reduction only,
/// since sums round differently elsewhere.
Plan plan_for(const PackedLinear& p, int64_t outputs) {
  constexpr int64_t kPanelBytes = 900 << 10, kLongestChunk = 16, kWidePanel = 12, kMacroBlock = 16, kMadeGroup = 64;
  const int64_t steps = std::max<int64_t>(blocks_for(p.in), 1);
  const int64_t chunks = steps <= 20 ? 1 : (steps + kLongestChunk - 1) / kLongestChunk, chunk = (steps + chunks - 1) / chunks;
  // A panel over the whole reduction that stays in the second cache while all rows pass,
  const int64_t panel = std::max<int64_t>(1, kPanelBytes / (steps * kBlockSize * 2));
  if (chunks == 1 || panel >= std::min(outputs, kWidePanel)) return {chunk, panel, 1};
  // or, where it would be so narrow that x had to be read too often, panels of one chunk beside many unfinished sums. Made panels
  // are made again for every group of rows: for them more unfinished sums, though they leave the second cache, cost less.
  return {chunk, kMacroBlock, needs_panels(p) ? kMadeGroup : kMacroBlock};
}

/// What one thread computes: blocks of outputs times blocks of rows.
struct Share {
  Range outputs, rows;
};

struct Scratch {
  AlignedBuffer<uint16_t> rows, tail, down, up, panel, expansion;
  AlignedBuffer<float> block, sums;
};

/// Copies `count` rows of `width` values, zeros up to a multiple of 32.
GRAFT_TILES void copy_rows(const uint16_t* source, int64_t stride, int64_t count, int64_t width, uint16_t* target, int64_t target_stride) {
  for (int64_t row = 0; row < count; ++row) {
    for (int64_t column = 0; column < width; column += kBlock) {
      const __m512i values = _mm512_maskz_loadu_epi16(first_of_32(width - column), source + row * stride + column);
      _mm512_store_si512(target + row * target_stride + column, values);
    }
  }
}

template <class Tiles>
class ShareProduct {
 public:
  ShareProduct(const PackedLinear& p, const Factor* factor, const Share& share, Scratch& scratch)
      : p_(p), factor_(factor), share_(share), plan_(plan_for(p, share.outputs.end - share.outputs.begin)), scratch_(scratch),
        steps_(blocks_for(p.in)) {}

  GRAFT_TILES void run() {
    if (p_.rank > 0) {
      up_ = scratch_.up.reserve(static_cast<size_t>(outputs() * blocks_for(p_.rank) * kBlockSize));
      pack_factor(p_.up, p_.out, p_.rank, {share_.outputs, {0, blocks_for(p_.rank)}}, up_);
    }
    scratch_.tail.reserve(kBlockSize);
    scratch_.rows.reserve(static_cast<size_t>(kBlock * copy_stride()));
    scratch_.down.reserve(static_cast<size_t>(kBlock * blocks_for(p_.rank) * kBlock));
    scratch_.block.reserve(kBlockSize);
    const int64_t group_size = std::min(plan_.group, share_.rows.end - share_.rows.begin);
    if (chunked()) scratch_.sums.reserve(static_cast<size_t>(plan_.panel * group_size * kBlockSize));
    if (needs_panels(p_)) {
      scratch_.panel.reserve(static_cast<size_t>(std::min(plan_.panel, outputs()) * (whole_panels() ? steps_ : plan_.chunk) * kBlockSize));
    }
    if (p_.weight == nullptr && factor_ == nullptr) scratch_.expansion.reserve(static_cast<size_t>(expansion_size(p_.stored)));
    for (int64_t panel = share_.outputs.begin; panel < share_.outputs.end; panel += plan_.panel) {
      const Range outputs{panel, std::min(panel + plan_.panel, share_.outputs.end)};
      if (whole_panels()) take_panel(outputs, {0, steps_});
      for (int64_t group = share_.rows.begin; group < share_.rows.end; group += plan_.group) {
        const Range rows{group, std::min(group + plan_.group, share_.rows.end)};
        for (int64_t chunk = 0; chunk < steps_ || chunk == 0; chunk += plan_.chunk) {
          const Range steps{chunk, std::min(chunk + plan_.chunk, steps_)};
          if (!whole_panels()) take_panel(outputs, steps);
          for (int64_t row = rows.begin; row < rows.end; ++row) multiply_row(row, rows.begin, outputs, steps);
        }
      }
    }
    write_rest(pending_);
    _mm_sfence();  // streamed lines become visible before this thread says that it is done
  }

 private:
  bool chunked() const { return plan_.chunk < steps_; }
  /// A panel goes over the whole reduction, so that all rows use it.
  bool whole_panels() const { return plan_.group == 1; }
  int64_t outputs() const { return share_.outputs.end - share_.outputs.begin; }

  /// Makes the weights of these outputs and steps the ones that set_weights() finds.
  GRAFT_TILES void take_panel(const Range& outputs, const Range& steps) {
    if (!needs_panels(p_)) {
      panel_ = {p_.weight + outputs.begin * steps_ * kBlockSize, steps_, outputs.begin, 0};
      return;
    }
    panel_ = {scratch_.panel.data(), steps.end - steps.begin, outputs.begin, steps.begin};
    make_panel({outputs, steps}, scratch_.panel.data());
    before_tile_loads();
  }

  GRAFT_TILES void make_panel(const Panel& panel, uint16_t* packed) const {
    if (factor_ != nullptr) {
      pack_factor(*factor_, p_.out, p_.in, panel, packed);
    } else if (p_.weight != nullptr) {
      turn_panel(p_.weight, p_.out, panel, packed);
    } else {
      expand_panel(p_.stored, p_.in, p_.out, panel, scratch_.expansion.data(), packed);
    }
  }

  int64_t copy_stride() const { return (plan_.chunk + 1) * kBlock; }

  /// One block of rows times a panel.
  GRAFT_TILES void multiply_row(int64_t row, int64_t first_row, const Range& outputs, const Range& steps) {
    const int64_t count = std::min(kBlock, p_.rows - row * kBlock);
    set_rows(row, count, steps);
    const bool partial = count < kBlock;
    if (partial) tiles_.reshape(std::min(count, kTileRows), std::max<int64_t>(count - kTileRows, 1));
    tiles_.keep(left_of(main_), main_.steps, count > kTileRows);
    for (int64_t output = outputs.begin; output < outputs.end; ++output) {
      float* sums = chunked() ? scratch_.sums.data() + ((row - first_row) * plan_.panel + output - outputs.begin) * kBlockSize : nullptr;
      set_weights(output, steps);
      if (count > kTileRows) {
        multiply_block<true>(row, output, count, sums, steps);
      } else {
        multiply_block<false>(row, output, count, sums, steps);
      }
    }
    if (partial) tiles_.reshape(kTileRows, kTileRows);
  }

  /// Where the left operands of this block of rows lie; copies what cannot be read in place.
  GRAFT_TILES void set_rows(int64_t row, int64_t count, const Range& steps) {
    const int64_t whole_steps = std::min(steps.end, p_.in / kBlock) - steps.begin, rest = p_.in % kBlock;
    const uint16_t* x = p_.x + row * kBlock * p_.x_stride;
    main_ = {x + steps.begin * kBlock, p_.x_stride * 2, nullptr, whole_steps};
    if (count > 1 && p_.x_stride % 1024 == 0 && whole_steps > 0) {
      // Rows a multiple of 2 KiB apart would share a few sets of the first cache.
      copy_rows(main_.rows, p_.x_stride, count, whole_steps * kBlock, scratch_.rows.data(), copy_stride());
      main_.rows = scratch_.rows.data();
      main_.row_bytes = copy_stride() * 2;
    }
    tail_ = {scratch_.tail.data(), kTileBytes, nullptr, 0};
    low_rank_ = tail_;
    if (steps.end == steps_) {
      if (rest > 0) {
        copy_rows(x + p_.in - rest, p_.x_stride, count, rest, scratch_.tail.data(), kBlock);
        tail_.steps = 1;
        tail_.last_values = rest;
      }
      if (p_.rank > 0) set_down(row, count);
    }
    before_tile_loads();
  }

  GRAFT_TILES void set_down(int64_t row, int64_t count) {
    const uint16_t* down = p_.down + row * kBlock * p_.down_stride;
    low_rank_ = {down, p_.down_stride * 2, nullptr, blocks_for(p_.rank), p_.rank - (blocks_for(p_.rank) - 1) * kBlock};
    if (p_.rank % kBlock == 0) return;
    const int64_t stride = blocks_for(p_.rank) * kBlock;
    copy_rows(down, p_.down_stride, count, p_.rank, scratch_.down.data(), stride);
    low_rank_.rows = scratch_.down.data();
    low_rank_.row_bytes = stride * 2;
  }

  void set_weights(int64_t output, const Range& steps) {
    main_.weight = panel_.blocks + ((output - panel_.first_output) * panel_.steps + steps.begin - panel_.first_step) * kBlockSize;
    tail_.weight = main_.weight + main_.steps * kBlockSize;
    low_rank_.weight = up_ + (output - share_.outputs.begin) * blocks_for(p_.rank) * kBlockSize;
  }

  template <bool kBoth>
  GRAFT_TILES void multiply_block(int64_t row, int64_t output, int64_t count, float* sums, const Range& steps) {
    const bool first = steps.begin == 0, last = steps.end == steps_;
    if constexpr (!Tiles::kSumsInRegisters) write_rest(pending_);
    float* to = first && !last ? sums : scratch_.block.data();
    tiles_.template begin<kBoth>({to, to + kTileRows * kBlock, kTileRows, kBlock * static_cast<int64_t>(sizeof(float))}, /*fresh=*/true);
    const int64_t outputs = p_.out - output * kBlock;
    multiply<kBoth>(tiles_, main_, outputs, pending_);
    if (tail_.steps > 0) multiply<kBoth>(tiles_, tail_, outputs, pending_);
    if (low_rank_.steps > 0) multiply<kBoth>(tiles_, low_rank_, outputs, pending_);
    write_rest(pending_);
    tiles_.template finish<kBoth>();
    if (first && !last) return;
    uint16_t* y = p_.y + row * kBlock * p_.y_stride + output * kBlock;
    const bool whole_lines = reinterpret_cast<uintptr_t>(y) % 64 == 0 && p_.y_stride % kBlock == 0 && (output + 1) * kBlock <= p_.out;
    pending_ = {.sums = scratch_.block.data(),
                .earlier = first ? nullptr : sums,
                .last = last,
                .bias = p_.bias == nullptr ? nullptr : p_.bias + output * kBlock,
                .y = y,
                .y_stride = p_.y_stride,
                .rows = count,
                .next = 0,
                .columns = first_of_32(outputs),
                .accumulate = p_.accumulate,
                .stream = p_.stream_y && whole_lines};
  }

  const PackedLinear& p_;
  const Factor* factor_;  ///< what panels are made of if p_ has no weight, or null
  const Share share_;
  const Plan plan_;
  Scratch& scratch_;
  const int64_t steps_;
  /// Packed weights from some output and step on, `steps` blocks an output.
  struct Weights {
    const uint16_t* blocks = nullptr;
    int64_t steps = 0, first_output = 0, first_step = 0;
  } panel_;
  uint16_t* up_ = nullptr;
  Tiles tiles_;
  Segment main_, tail_, low_rank_;
  Output pending_;
};

/// The part of the time in which `threads` all have work.
double evenness(int64_t blocks, int64_t threads) {
  return static_cast<double>(blocks) / static_cast<double>((blocks + threads - 1) / threads * threads);
}

/// Threads take outputs, so that each keeps its part of the weight in its cache; rows too where outputs alone cannot be shared evenly.
Share share_of(const PackedLinear& p, int64_t thread, int64_t threads) {
  constexpr double kNoticeable = 1.1;
  const int64_t outputs = blocks_for(p.out), rows = blocks_for(p.rows);
  int64_t across = threads;
  for (int64_t tried = threads; tried >= 1; --tried) {
    const auto value = [&](int64_t count) { return evenness(outputs, count) * evenness(rows, threads / count); };
    if (threads % tried == 0 && value(tried) > value(across) * kNoticeable) across = tried;
  }
  return {part_of(outputs, thread % across, across), part_of(rows, thread / across, threads / across)};
}

/// `factor` takes the place of a weight that p does not have.
template <class Tiles>
void linear(const PackedLinear& p, const Factor* factor = nullptr) {
  constexpr int64_t kWorthwhile = 1 << 19;  // products below this are done before a second thread has started
  const bool parallel = p.rows * p.out * (p.in + p.rank) >= kWorthwhile;
#pragma omp parallel if (parallel)
  {
    static thread_local Scratch scratch;
    const Share share = share_of(p, omp_get_thread_num(), omp_get_num_threads());
    if (share.outputs.begin < share.outputs.end && share.rows.begin < share.rows.end) ShareProduct<Tiles>(p, factor, share, scratch).run();
  }
}

/// Threads that share the rows pack the factor each for themselves: what another core has just written takes longer to fetch.
template <class Tiles>
void narrow(const NarrowProduct& p) {
  PackedLinear product{.rows = p.rows, .in = p.in, .out = p.rank, .x = p.x, .x_stride = p.x_stride};
  product.y = p.down;
  product.y_stride = p.down_stride;
  linear<Tiles>(product, &p.a);
}

}  // namespace
}  // namespace graft::kernels::detail::inline GRAFT_TILE_SPACE

#endif
