#pragma once

#include <ATen/core/Tensor.h>

namespace graft::pipelines {

// Axes: N clouds, K classes, J features.

/// How sure predictions are: 1 - H(softmax(logits)) / log K, in 0..1. (N, K) -> (N); all 1 where K is 1.
at::Tensor certainty(const at::Tensor& logits);

/// Mean feature of each class, each cloud weighted by how sure its prediction is: (N, J), (N, K), (N) int64 -> (K, J); a row of zeros for a
/// class without clouds. The released code takes the plain mean by a slip (card 2.11, 5).
at::Tensor class_prototypes(const at::Tensor& features, const at::Tensor& logits, const at::Tensor& labels);

/// Pulls features to the prototype that they are nearest to, as much as the choice is sure:
///   s = cosine / temperature, pi = softmax(s), c* = argmax s, mean of -(1 - H(pi)/log K) log pi_c*; the weight carries no gradient.
/// (B, J), (K, J) -> scalar, differentiable in `features`. Rows of zeros in `prototypes` are passed over; 0 where fewer than two are left.
/// With temperature 1, as published, weights are near 0 (cosines lie within 2 of each other).
at::Tensor prototype_loss(const at::Tensor& features, const at::Tensor& prototypes, double temperature);

}  // namespace graft::pipelines
