#include "pipelines/cloud/view_choice.h"

#include <ATen/ATen.h>

#include <limits>

namespace graft::pipelines {

at::Tensor entropy_of(const at::Tensor& logits) {
  const auto log_probability = at::log_softmax(logits, -1);
  return -(log_probability.exp() * log_probability).sum(-1);
}

at::Tensor kept_views(const at::Tensor& logits) {
  const at::NoGradGuard no_gradient;
  const auto entropy = entropy_of(logits.detach());
  return entropy <= at::quantile(entropy, 0.5, 1, /*keepdim=*/true);
}

at::Tensor mean_of_kept(const at::Tensor& logits, const at::Tensor& kept) {
  const auto weight = kept.to(logits.scalar_type()).unsqueeze(-1);
  return (logits * weight).sum(1) / weight.sum(1);
}

at::Tensor log_mean_probability(const at::Tensor& logits, const at::Tensor& kept) {
  const auto left_out = kept.logical_not().unsqueeze(-1);
  const auto kept_only = at::log_softmax(logits, -1).masked_fill(left_out, -std::numeric_limits<float>::infinity());
  return at::logsumexp(kept_only, 1) - kept.sum(1, /*keepdim=*/true).to(logits.scalar_type()).log();
}

}  // namespace graft::pipelines
