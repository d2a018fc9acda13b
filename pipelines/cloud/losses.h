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

/// Cross-entropy of predictions with distributions that stand fixed: (B, K), (B, K) -> scalar.
at::Tensor anchor_loss(const at::Tensor& logits, const at::Tensor& probabilities);

/// log K less the entropy of the mean prediction: 0 where all classes occur equally often, log K where the rows agree on one. (B, K) -> scalar.
/// With an entropy beside it this is information maximisation (Liang et al., arXiv:2002.08546): sure of each cloud, but not all alike. It takes
/// classes to be about equally frequent.
at::Tensor diversity_loss(const at::Tensor& logits);

}  // namespace graft::pipelines
