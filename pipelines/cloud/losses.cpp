#include "pipelines/cloud/losses.h"

#include <ATen/ATen.h>

#include <cmath>

#include "pipelines/cloud/view_choice.h"

namespace graft::pipelines {

at::Tensor confidence_loss(const at::Tensor& logits, const at::Tensor& kept) {
  const auto log_mean = log_mean_probability(logits, kept);
  return -(log_mean.exp() * log_mean).sum(-1).mean();
}

at::Tensor orthogonality_loss(const at::Tensor& transforms) {
  const auto identity = at::eye(transforms.size(-1), transforms.options());
  return (at::matmul(transforms, transforms.transpose(-1, -2)) - identity).flatten(1).norm(2, {1}).mean();
}

at::Tensor entropy_loss(const at::Tensor& logits) { return entropy_of(logits).mean(); }

at::Tensor anchor_loss(const at::Tensor& logits, const at::Tensor& probabilities) {
  return -(probabilities * at::log_softmax(logits, 1)).sum(1).mean();
}

at::Tensor diversity_loss(const at::Tensor& logits) {
  const auto log_mean = at::logsumexp(at::log_softmax(logits, 1), {0}) - std::log(static_cast<double>(logits.size(0)));
  return std::log(static_cast<double>(logits.size(1))) + (log_mean.exp() * log_mean).sum();
}

}  // namespace graft::pipelines
