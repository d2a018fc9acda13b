#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/sinkhorn/sinkhorn.h"

namespace graft::ops {

/// Debiased Sinkhorn divergence between two batches of points, a scalar: see kernels/sinkhorn/sinkhorn.h.
///
/// Shapes   x (n, d), y (m, d), real; they are read as fp32, the result is fp32 on x's device.
/// Gradient for x and y where they require one; a batch that does not is a constant, and nothing is computed for it. Closed form of the
///          converged plan. Cannot be differentiated twice. Keeps the gradients.
/// Throws   InvalidArgument for other shapes, empty batches, numbers that are not finite.
at::Tensor sinkhorn_divergence(const at::Tensor& x, const at::Tensor& y, const kernels::SinkhornOptions& options);

/// The same with cost |x − y| and the usual schedule.
at::Tensor sinkhorn_divergence(const at::Tensor& x, const at::Tensor& y, double blur);

}  // namespace graft::ops
