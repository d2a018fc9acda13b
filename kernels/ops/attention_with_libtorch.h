#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "kernels/ops/attention_op.h"

// Attention put together from LibTorch's products and our softmax rows: for dtypes and processors that kernels/attention has no variant for.
// Shapes as in attention_op.h; results are allocated by the caller.
namespace graft::ops {

/// Writes out (N, Hq, D) and, where defined, lse (N, Hq): log Σ exp of each query's scaled scores. A single sequence may have more keys than
/// queries; its queries then stand at the last positions.
void forward_with_libtorch(const AttentionShape& shape, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           std::span<const int32_t> lengths, const at::Tensor& out, const at::Tensor& lse);

struct AttentionInputs {
  at::Tensor g, q, k, v;  ///< gradient of the output, and the inputs
  at::Tensor lse, delta;  ///< (N, Hq) fp32: log Σ exp, and Σ g ⊙ out over the head
};

struct InputGradients {
  at::Tensor dq, dk, dv;
};

/// Overwrites the gradients.
void backward_with_libtorch(const AttentionShape& shape, const AttentionInputs& in, std::span<const int32_t> lengths,
                            const InputGradients& out);

}  // namespace graft::ops
