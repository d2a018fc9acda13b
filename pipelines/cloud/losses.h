#pragma once

#include <ATen/core/Tensor.h>

// Losses of CLIPoint3D (arXiv:2602.20409). Each is a scalar mean over the batch, in nats where entropies are concerned.
namespace graft::pipelines {

// Axes: B clouds, M views, K classes, D features.

/// Entropy of the mean distribution of the kept views: (B, M, K), (B, M) -> scalar. Computed from logarithms, so that a probability of 0 in
/// float does no harm.
at::Tensor confidence_loss(const at::Tensor& logits, const at::Tensor& kept);

/// How far transforms are from orthogonal: mean over b of the Frobenius norm of A_b A_bᵀ - I. (B, D, D) -> scalar.
at::Tensor orthogonality_loss(const at::Tensor& transforms);

/// Mean entropy of each row's own distribution: (B, K) -> scalar. The released code normalises along the batch instead, which is no entropy of
/// a prediction.
at::Tensor entropy_loss(const at::Tensor& logits);

/// Debiased Sinkhorn divergence between two clouds of D-dimensional points of equal weight, cost |x - y|, entropic weight `blur`:
/// OT(x, y) - OT(x, x)/2 - OT(y, y)/2. (n, D), (m, D) -> scalar, differentiable in both. Source: Feydy et al. 2019, arXiv:1810.08278.
at::Tensor transport_loss(const at::Tensor& x, const at::Tensor& y, double blur = 0.05);

}  // namespace graft::pipelines
