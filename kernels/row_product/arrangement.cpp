#include "kernels/row_product/arrangement.h"

#include <algorithm>

#include "kernels/base/bfloat16.h"
#include "kernels/base/vectorised.h"
#include "kernels/nf4/variants.h"

namespace graft::kernels::detail {
namespace {

GRAFT_VECTORISED void widen(const uint16_t* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = bfloat16_to_float(from[i]);
}

/// Whole steps.
GRAFT_VECTORISED void split_pairs(const float* from, int64_t steps, float* to) {
  for (int64_t step = 0; step < steps; ++step, from += kStep, to += kStep) {
    for (int64_t i = 0; i < 16; ++i) to[i] = from[2 * i];
    for (int64_t i = 0; i < 16; ++i) to[16 + i] = from[2 * i + 1];
  }
}

void copy_row(const FewRows& rows, int64_t row, int64_t count, float* to) {
  if (rows.fp32 != nullptr) {
    std::copy_n(rows.fp32 + row * rows.stride, count, to);
  } else {
    widen(rows.bf16 + row * rows.stride, count, to);
  }
}

}  // namespace

Order order_of(const RowProduct& p) {
  const bool nf4_steps = p.weight.form == RowWeight::Form::kNf4 && p.in % kStep == 0;
  const bool bf16 = p.weight.form == RowWeight::Form::kBlocks && p.weight.type == GgmlType::kBF16;
  return nf4_steps || bf16 ? Order::kPairs : Order::kPlain;
}

ArrangedRows::ArrangedRows(const FewRows& rows, int64_t count, int64_t columns, Order order)
    : values_(static_cast<size_t>(count * steps_for(columns) * kStep)), stride_(steps_for(columns) * kStep) {
  AlignedBuffer<float> line(order == Order::kPairs ? static_cast<size_t>(stride_) : 0);
  for (int64_t row = 0; row < count && columns > 0; ++row) {
    float* target = values_.data() + row * stride_;
    float* plain = order == Order::kPairs ? line.data() : target;
    copy_row(rows, row, columns, plain);
    std::fill(plain + columns, plain + stride_, 0.0f);
    if (order == Order::kPairs) split_pairs(plain, steps_for(columns), target);
  }
}

void expand_row(const RowWeight& weight, int64_t n, int64_t in, float* row) {
  if (weight.form == RowWeight::Form::kBlocks) {
    const auto layout = block_layout(weight.type);
    const size_t bytes = static_cast<size_t>(in) / layout.elements * layout.bytes;
    return dequantize_blocks(weight.type, {weight.blocks + n * weight.row_bytes, bytes}, std::span(row, static_cast<size_t>(in)));
  }
  const auto& nf4 = *weight.nf4;
  for (int64_t i = 0; i < in; ++i) {
    const int64_t place = n * in + i;
    const int byte = nf4.codes[static_cast<size_t>(place / 2)], code = place % 2 == 0 ? byte >> 4 : byte & 15;
    row[i] = nf4_table()[static_cast<size_t>(code)] * block_scale(nf4, place / nf4.block_size);
  }
}

}  // namespace graft::kernels::detail
