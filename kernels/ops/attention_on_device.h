#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "kernels/ops/attention_op.h"

// Private to this folder.
namespace graft::ops {

/// attention() in a device's memory: LibTorch's operator, sequence by sequence, with its gradient. A single sequence may have more keys than
/// queries; its queries then stand at the last positions.
at::Tensor attention_on_device(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::span<const int32_t> lengths,
                               const AttentionShape& shape);

}  // namespace graft::ops
