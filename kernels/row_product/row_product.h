#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gguf_blocks/gguf_blocks.h"
#include "kernels/nf4/nf4.h"

namespace graft::kernels {

// Products of a few rows with a frozen weight as it lies in memory: what a model needs to write one token after the other, when a weight is
// read once and hardly anything is computed with it. Weights are taken as the fp32 values that they stand for, activations are not
// quantised, sums are fp32. Weights in the order of the tiles are not taken here: kernels/packed_linear is as quick as memory with
// them, whatever the number of rows. The same bits come out for any number of threads and any number of rows in a call.

/// A frozen weight W (out, in).
struct RowWeight {
  enum class Form { kBlocks, kNf4 };
  Form form = Form::kBlocks;
  // kBlocks: rows of GGUF blocks, or of plain fp32, fp16 or bf16 values.
  GgmlType type = GgmlType::kBF16;
  const std::byte* blocks = nullptr;
  int64_t row_bytes = 0;           ///< from row to row
  const Nf4Weight* nf4 = nullptr;  ///< kNf4: rows one after the other
};

/// A few rows of fp32 or bf16 values.
struct FewRows {
  const float* fp32 = nullptr;
  const uint16_t* bf16 = nullptr;  ///< if fp32 is null
  int64_t stride = 0;
};

constexpr int64_t kMostFewRows = 8;

/// y (rows, out) = (x (rows, in) Wᵀ [+ bias] [+ down (rows, rank) upᵀ * up_scale]), rounded once.
struct RowProduct {
  int64_t rows = 0;  ///< 0 to kMostFewRows
  int64_t in = 0, out = 0;
  FewRows x;
  RowWeight weight;
  const float* bias = nullptr;  ///< (out), or null
  int64_t rank = 0;             ///< 0: no such term
  FewRows down;
  const float* up = nullptr;    ///< (out, rank)
  int64_t up_row_stride = 0, up_column_stride = 1;
  float up_scale = 1.0f;
  float* y_fp32 = nullptr;      ///< must not overlap any input
  uint16_t* y_bf16 = nullptr;   ///< if y_fp32 is null; rounded to nearest even
  int64_t y_stride = 0;
};

/// Throws InvalidArgument for sizes, strides or forms that cannot be.
void row_product(const RowProduct& product);

}  // namespace graft::kernels
