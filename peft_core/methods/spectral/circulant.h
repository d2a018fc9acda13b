#pragma once

#include <ATen/core/Tensor.h>

namespace graft::peft {

// A matrix (m b, n b) of circulant blocks: block (i, j) holds w[i, j, (l − k) mod b] at row k and column l. w (m, n, b) fp32. Differentiable.

/// The matrix itself, (m b, n b).
at::Tensor block_circulant(const at::Tensor& w);

/// x (N, n b) times its transpose, by Fourier transforms of length b: -> (N, m b) fp32.
at::Tensor block_circular_product(const at::Tensor& x, const at::Tensor& w);

}  // namespace graft::peft
