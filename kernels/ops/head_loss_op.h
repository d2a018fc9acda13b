#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace graft::ops {

/// Rows [begin, begin + count) of the head's weight, (count, C), in the dtype of the hidden states; valid until the next call.
using HeadRows = std::function<at::Tensor(int64_t begin, int64_t count)>;

/// Σ over rows of −log softmax(h Wᵀ)[target], without ever holding the full logits and without a gradient for W.
///
/// The vocabulary is walked once in blocks; maximum, sum and the gradient for h are carried along and rescaled when the maximum
/// grows (online softmax), so that each block costs two products and is expanded once.
/// Shapes   hidden (M, C); targets (M) int64 in [0, vocabulary); result: scalar fp32, in nats.
/// Gradient exact for hidden, computed in the forward pass.
at::Tensor head_loss(const at::Tensor& hidden, const at::Tensor& targets, int64_t vocabulary, const HeadRows& rows);

/// Memory that head_loss() takes beside its input and the weight, its gradient included; bytes.
int64_t head_loss_bytes(int64_t rows, int64_t width, int64_t vocabulary, at::ScalarType dtype);

/// The same of a device's memory.
int64_t head_loss_bytes_on_device(int64_t rows, int64_t width, int64_t vocabulary, at::ScalarType dtype);

/// −log softmax(h Wᵀ)[target] for each row, (M) fp32, no gradient; `best` (M) int64, where given, receives the arg max.
at::Tensor head_nll(const at::Tensor& hidden, const at::Tensor& targets, int64_t vocabulary, const HeadRows& rows,
                    at::Tensor* best = nullptr);

}  // namespace graft::ops
