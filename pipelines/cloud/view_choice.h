#pragma once

#include <ATen/core/Tensor.h>

namespace graft::pipelines {

// Axes: B clouds, M views, K classes.

/// Entropy of softmax(logits) along the last axis, in nats.
at::Tensor entropy_of(const at::Tensor& logits);

/// Which views decide: those whose entropy is not above the median over the cloud's views (interpolated where M is even).
/// (B, M, K) -> (B, M) bool; at least one a cloud. No gradient. Source: CLIPoint3D, entropy-guided view choice.
at::Tensor kept_views(const at::Tensor& logits);

/// Mean of the kept views' logits: (B, M, K), (B, M) -> (B, K).
at::Tensor mean_of_kept(const at::Tensor& logits, const at::Tensor& kept);

/// Logarithm of the mean of the kept views' probabilities: (B, M, K), (B, M) -> (B, K).
at::Tensor log_mean_probability(const at::Tensor& logits, const at::Tensor& kept);

}  // namespace graft::pipelines
