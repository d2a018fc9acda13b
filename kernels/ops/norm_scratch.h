#pragma once

#include <ATen/ATen.h>

#include "kernels/ops/on_device.h"
#include "kernels/rows/rows_cuda.h"

namespace graft::ops {

/// What the gradient of a norm's weight needs on a device beside x (…, n) of `rows` rows; undefined where it is not wanted or x lies in the
/// processor's memory.
inline at::Tensor norm_scratch(const at::Tensor& x, int64_t rows, bool wanted, bool with_bias) {
  if (!wanted || !on_device(x)) return {};
  return at::empty({kernels::norm_gradient_scratch(rows, x.size(-1), with_bias)}, x.options().dtype(at::kFloat));
}

}  // namespace graft::ops
