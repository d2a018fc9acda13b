#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/base/error.h"
#include "kernels/rows/rows.h"

namespace graft::ops {

inline kernels::Element element_of(const at::Tensor& tensor) {
  GRAFT_ASSERT(tensor.is_contiguous());
  if (tensor.scalar_type() == at::kFloat) return kernels::Element::kFloat32;
  GRAFT_ASSERT(tensor.scalar_type() == at::kBFloat16);
  return kernels::Element::kBFloat16;
}

}  // namespace graft::ops
