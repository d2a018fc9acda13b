#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace graft::peft {

/// Rows [first, first + P) of every sequence in x (N, C) replaced by `rows` (P, C), the same for all, or (S, P, C), one set for each of the
/// S sequences; an undefined `rows` changes nothing. Differentiable in both. Throws InvalidArgument for a sequence that is too short.
at::Tensor with_rows_replaced(const at::Tensor& x, const at::Tensor& rows, int64_t first, std::span<const int32_t> lengths);

}  // namespace graft::peft
