#pragma once

#include <ATen/core/Tensor.h>

namespace graft::ops {

// LibTorch's products, for methods whose updates are neither thin nor frozen. On a processor without 16-bit products of its own LibTorch's
// take ten times as long as those of fp32 (8 GFLOP/s a core on an AMD Zen 3, 70 for fp32); there 16-bit operands are widened first and the
// result is rounded once. Shapes, errors and gradients are those of the at:: functions of the same names.

at::Tensor mm(const at::Tensor& a, const at::Tensor& b);
at::Tensor bmm(const at::Tensor& a, const at::Tensor& b);
/// sum + a b.
at::Tensor addmm(const at::Tensor& sum, const at::Tensor& a, const at::Tensor& b);
at::Tensor baddbmm(const at::Tensor& sum, const at::Tensor& a, const at::Tensor& b);
/// sum += a b. Not differentiable where operands are widened.
void addmm_(at::Tensor& sum, const at::Tensor& a, const at::Tensor& b, double alpha = 1.0);
/// x weightᵀ + bias.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace graft::ops
