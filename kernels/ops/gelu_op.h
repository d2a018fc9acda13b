#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/rows/activation_rows.h"

namespace graft::ops {

/// GELU in one of its three forms, element by element. Gradient exact. Keeps x.
at::Tensor gelu(const at::Tensor& x, kernels::Gelu form);

}  // namespace graft::ops
