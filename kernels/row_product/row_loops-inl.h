#pragma once

// Included by each variant after its lanes (Lanes, Codes, GRAFT_ROWS): one text for all instruction sets.

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/base/bfloat16.h"
#include "kernels/nf4/variants.h"
#include "kernels/row_product/arrangement.h"
#include "kernels/row_product/row_blocks-inl.h"
#include "kernels/row_product/variants.h"
#include "kernels/tiles/aligned_buffer.h"

namespace graft::kernels::detail {
namespace {

constexpr uintptr_t kAhead = 4096;  // bytes between what is multiplied and what is fetched

/// A product on its way: x and down as fp32, x in the order of the weight's format.
struct RowTask {
  const RowProduct& p;
  const float* x;
  int64_t x_stride;
  const float* down;
  int64_t down_stride;
};

/// Outputs that one thread computes, and their sums (rows, end - begin).
struct OutputPart {
  int64_t begin, end;
  float* sums;
  int64_t width() const { return end - begin; }
};

/// Weights pass once, and the processor's own prefetching ends with every page of 4 KiB. The address is computed as a number: it need not
/// lie in the weight.
inline void prefetch_ahead(const uint8_t* from) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(from) + kAhead));
}

/// Sums of kRows rows of x with one row of weights.
template <int kRows>
struct Sums {
  Lanes first[kRows], second[kRows];
  GRAFT_ROWS_INLINE Sums() {
    for (int row = 0; row < kRows; ++row) first[row] = second[row] = Lanes::zero();
  }
  template <class Block>
  GRAFT_ROWS_INLINE void add(const Block& block, const float* x, int64_t x_stride) {
    for (int64_t step = 0; step < Block::kSteps; ++step) {
      Lanes a, b;
      block.step(step, a, b);
      for (int row = 0; row < kRows; ++row) {
        const float* at = x + row * x_stride + step * kStep;
        first[row] = a.times_plus(Lanes::load(at), first[row]);
        second[row] = b.times_plus(Lanes::load(at + 16), second[row]);
      }
    }
  }
  GRAFT_ROWS_INLINE void store(float* sums, int64_t stride) const {
    for (int row = 0; row < kRows; ++row) sums[row * stride] = first[row].plus(second[row]).total();
  }
};

/// Rows of blocks. Plain values may end within a step: the last one is then read from a copy filled up with zeros.
template <class Format>
struct BlockRows {
  using Block = Format;
  const uint8_t* values;
  int64_t row_bytes, blocks, rest_bytes;

  template <int kRows>
  GRAFT_ROWS_INLINE void multiply(int64_t n, const float* x, int64_t x_stride, float* sums, int64_t stride) const {
    const uint8_t* row = values + n * row_bytes;
    Sums<kRows> all;
    for (int64_t block = 0; block < blocks; ++block) {
      for (int64_t line = 0; line < Block::kBytes; line += 64) prefetch_ahead(row + block * Block::kBytes + line);
      all.add(Block(row + block * Block::kBytes), x + block * Block::kSteps * kStep, x_stride);
    }
    if (rest_bytes > 0) {
      uint8_t rest[Block::kBytes] = {};
      std::memcpy(rest, row + blocks * Block::kBytes, static_cast<size_t>(rest_bytes));
      all.add(Block(rest), x + blocks * kStep, x_stride);
    }
    all.store(sums, stride);
  }
};

/// Rows of NF4 that begin with a run of 32 weights; blocks may run over their ends.
struct Nf4Rows {
  const Nf4Weight& weight;
  int64_t in;
  float* scales;  // of one row

  template <int kRows>
  GRAFT_ROWS_INLINE void multiply(int64_t n, const float* x, int64_t x_stride, float* sums, int64_t stride) const {
    const int64_t first = n * in, block = first / weight.block_size, runs = weight.block_size / kStep;
    block_scales(weight, block, (first + in - 1) / weight.block_size - block + 1, scales);
    const uint8_t* codes = weight.codes.data() + first / 2;
    const Lanes table = Lanes::load(nf4_table().data());
    Sums<kRows> all;
    int64_t left = runs - first % weight.block_size / kStep;  // runs of the present block
    const float* scale = scales;
    for (int64_t step = 0; step < in / kStep; ++step) {
      if (step % 4 == 0) prefetch_ahead(codes + step * 16);
      all.add(Nf4Step{codes + step * 16, table.times(Lanes::all(*scale))}, x + step * kStep, x_stride);
      if (--left == 0) ++scale, left = runs;
    }
    all.store(sums, stride);
  }
};

/// Formats without steps of their own, and NF4 whose rows begin anywhere: a row is expanded to fp32 first.
struct ExpandedRows {
  const RowWeight& weight;
  int64_t in;
  float* row;  // whole steps, zeros behind `in`

  template <int kRows>
  GRAFT_ROWS_INLINE void multiply(int64_t n, const float* x, int64_t x_stride, float* sums, int64_t stride) const {
    expand_row(weight, n, in, row);
    const BlockRows<F32Step> plain{reinterpret_cast<const uint8_t*>(row), 0, steps_for(in), 0};
    plain.multiply<kRows>(0, x, x_stride, sums, stride);
  }
};

/// Row n of the weight times `count` rows of x, which are kRows or fewer.
template <int kRows, class Rows>
GRAFT_ROWS_INLINE void multiply_group(const Rows& rows, int64_t n, int64_t count, const float* x, int64_t x_stride, float* sums, int64_t stride) {
  if constexpr (kRows > 1) {
    if (count < kRows) return multiply_group<kRows - 1>(rows, n, count, x, x_stride, sums, stride);
  }
  rows.template multiply<kRows>(n, x, x_stride, sums, stride);
}

/// Every row of weights once for as many rows of x as the registers hold; a second time it comes from the first cache.
template <class Rows>
GRAFT_ROWS void multiply_rows(const RowTask& task, const Rows& rows, const OutputPart& part) {
  constexpr int64_t kAtOnce = Lanes::kRowsAtOnce;
  for (int64_t n = part.begin; n < part.end; ++n) {
    for (int64_t m = 0; m < task.p.rows; m += kAtOnce) {
      const int64_t count = std::min(kAtOnce, task.p.rows - m);
      multiply_group<Lanes::kRowsAtOnce>(rows, n, count, task.x + m * task.x_stride, task.x_stride, part.sums + m * part.width() + n - part.begin,
                                         part.width());
    }
  }
}

template <class Format>
void multiply_blocks(const RowTask& task, const OutputPart& part) {
  const auto layout = block_layout(task.p.weight.type);
  const int64_t whole = task.p.in / (Format::kSteps * kStep), rest = task.p.in % (Format::kSteps * kStep);
  const BlockRows<Format> rows{reinterpret_cast<const uint8_t*>(task.p.weight.blocks), task.p.weight.row_bytes, whole,
                               rest / static_cast<int64_t>(layout.elements) * static_cast<int64_t>(layout.bytes)};
  multiply_rows(task, rows, part);
}

void multiply_expanded(const RowTask& task, const OutputPart& part, AlignedBuffer<float>& scratch) {
  float* row = scratch.zeroed(static_cast<size_t>(steps_for(task.p.in) * kStep));
  multiply_rows(task, ExpandedRows{task.p.weight, task.p.in, row}, part);
}

void multiply_part(const RowTask& task, const OutputPart& part, AlignedBuffer<float>& scratch) {
  const auto& weight = task.p.weight;
  if (weight.form == RowWeight::Form::kNf4) {
    if (task.p.in % kStep != 0) return multiply_expanded(task, part, scratch);
    float* scales = scratch.reserve(static_cast<size_t>(task.p.in / weight.nf4->block_size + 2));
    return multiply_rows(task, Nf4Rows{*weight.nf4, task.p.in, scales}, part);
  }
  switch (weight.type) {
    case GgmlType::kF32: return multiply_blocks<F32Step>(task, part);
    case GgmlType::kF16: return multiply_blocks<F16Step>(task, part);
    case GgmlType::kBF16: return multiply_blocks<Bf16Step>(task, part);
    case GgmlType::kQ8_0: return multiply_blocks<Q8_0Step>(task, part);
    case GgmlType::kQ4_0: return multiply_blocks<Q4_0Step>(task, part);
    case GgmlType::kQ4_1: return multiply_blocks<Q4_1Step>(task, part);
    case GgmlType::kQ4_K: return multiply_blocks<Q4_KSteps>(task, part);
    case GgmlType::kQ5_K: return multiply_blocks<Q5_KSteps>(task, part);
    case GgmlType::kQ6_K: return multiply_blocks<Q6_KSteps>(task, part);
    default: return multiply_expanded(task, part, scratch);
  }
}

/// Σ down[j] up[n, j] of one row.
GRAFT_ROWS float low_rank_term(const RowProduct& p, int64_t n, const float* down) {
  const float* up = p.up + n * p.up_row_stride;
  int64_t j = 0;
  float sum = 0.0f;
  if (p.up_column_stride == 1 && p.rank >= 16) {
    Lanes lanes = Lanes::zero();
    for (; j + 16 <= p.rank; j += 16) lanes = Lanes::load(up + j).times_plus(Lanes::load(down + j), lanes);
    sum = lanes.total();
  }
  for (; j < p.rank; ++j) sum += up[j * p.up_column_stride] * down[j];
  return sum;
}

GRAFT_ROWS void write_part(const RowTask& task, const OutputPart& part) {
  const auto& p = task.p;
  for (int64_t m = 0; m < p.rows; ++m) {
    float* sums = part.sums + m * part.width();
    for (int64_t n = part.begin; p.bias != nullptr && n < part.end; ++n) sums[n - part.begin] += p.bias[n];
    for (int64_t n = part.begin; p.rank > 0 && n < part.end; ++n) {
      sums[n - part.begin] += low_rank_term(p, n, task.down + m * task.down_stride) * p.up_scale;
    }
    const int64_t place = m * p.y_stride + part.begin;
    if (p.y_fp32 != nullptr) {
      std::copy_n(sums, part.width(), p.y_fp32 + place);
    } else {
      for (int64_t i = 0; i < part.width(); ++i) p.y_bf16[place + i] = float_to_bfloat16(sums[i]);
    }
  }
}

void run_row_product(const RowProduct& p) {
  constexpr int64_t kWorthwhile = 1 << 15;  // smaller products are done before a second thread has started
  constexpr int64_t kOutputs = 16;          // a cache line of fp32 results, so that threads do not write to the same ones
  const ArrangedRows x(p.x, p.rows, p.in, order_of(p)), down(p.down, p.rows, p.rank, Order::kPlain);
  const RowTask task{p, x.values(), x.stride(), down.values(), down.stride()};
  const int64_t blocks = (p.out + kOutputs - 1) / kOutputs;
#pragma omp parallel if (p.in * p.out >= kWorthwhile)
  {
    static thread_local AlignedBuffer<float> sums, scratch;
    const int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
    OutputPart part{blocks * thread / threads * kOutputs, std::min(blocks * (thread + 1) / threads * kOutputs, p.out), nullptr};
    if (part.begin < part.end) {
      part.sums = sums.reserve(static_cast<size_t>(p.rows * part.width()));
      multiply_part(task, part, scratch);
      write_part(task, part);
    }
  }
}

}  // namespace
}  // namespace graft::kernels::detail
