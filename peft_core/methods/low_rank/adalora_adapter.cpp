#include "peft_core/methods/low_rank/adalora_adapter.h"

#include <ATen/ATen.h>

namespace graft::peft {
namespace {

at::Tensor from_identity(const at::Tensor& square) { return at::norm(square - at::eye(square.size(0), square.options().requires_grad(false))); }

}  // namespace

AdaloraAdapter::AdaloraAdapter(const FrozenLinear& base, int64_t rank, double scale, double dropout, at::Generator& random)
    : a_(at::empty({rank, base.in_features()}, at::kFloat).normal_(0, 0.02, random).requires_grad_(rank > 0)),
      b_(at::empty({base.out_features(), rank}, at::kFloat).normal_(0, 0.02, random).requires_grad_(rank > 0)),
      e_(at::zeros({rank, 1}, at::kFloat).requires_grad_(rank > 0)),
      scale_(scale),
      dropout_(dropout) {}

std::optional<LowRankUpdate> AdaloraAdapter::low_rank() const {
  if (rank() == 0) return std::nullopt;
  const auto a = a_ * e_;
  // A layer that lost all of them goes on with values of 0, so that its leaves have gradients as everywhere.
  if (!allocated() || left_numbers().numel() == 0) return LowRankUpdate{.a = a, .b = b_, .scale = scale_, .dropout = dropout_};
  return LowRankUpdate{.a = a.index_select(0, left_numbers()), .b = b_.index_select(1, left_numbers()), .scale = scale_, .dropout = dropout_};
}

at::Tensor AdaloraAdapter::deviation_from_orthogonal() const { return from_identity(at::mm(a_, a_.t())) + from_identity(at::mm(b_.t(), b_)); }

void AdaloraAdapter::begin_scoring() {
  if (mask_.defined()) return;
  mask_ = at::ones({rank()}, e_.options().requires_grad(false));
  const std::array<const at::Tensor*, 3> all{&a_, &b_, &e_};
  for (size_t i = 0; i < all.size(); ++i) {
    sensitivity_[i] = at::zeros_like(all[i]->detach());
    uncertainty_[i] = at::zeros_like(all[i]->detach());
  }
}

void AdaloraAdapter::keep_gradients(double scale) {
  const at::NoGradGuard no_gradient;
  const std::array<const at::Tensor*, 3> all{&a_, &b_, &e_};
  for (size_t i = 0; i < all.size(); ++i) gradients_[i] = all[i]->grad().defined() ? all[i]->grad() * scale : at::Tensor();
}

void AdaloraAdapter::update_scores(double beta1, double beta2) {
  const at::NoGradGuard no_gradient;
  const std::array<const at::Tensor*, 3> all{&a_, &b_, &e_};
  for (size_t i = 0; i < all.size(); ++i) {
    if (!gradients_[i].defined()) continue;
    const auto now = (*all[i] * gradients_[i]).abs();
    sensitivity_[i].mul_(beta1).add_(now, 1 - beta1);
    uncertainty_[i].mul_(beta2).add_((now - sensitivity_[i]).abs(), 1 - beta2);
    gradients_[i].reset();
  }
}

void AdaloraAdapter::forget_scores() {
  for (size_t i = 0; i < sensitivity_.size(); ++i) sensitivity_[i].zero_(), uncertainty_[i].zero_();
}

at::Tensor AdaloraAdapter::triplet_scores() const {
  const auto score = [&](size_t i) { return sensitivity_[i] * uncertainty_[i]; };
  return score(2).view({-1}) + (score(0).mean(1) + score(1).mean(0));
}

void AdaloraAdapter::zero_values(const at::Tensor& mask) {
  const at::NoGradGuard no_gradient;
  e_.detach().masked_fill_(mask.view({-1, 1}).eq(0), 0.0);
}

void AdaloraAdapter::allocate(const at::Tensor& mask) {
  mask_.copy_(mask);
  zero_values(mask_);
}

bool AdaloraAdapter::allocated() const { return mask_.defined() && left_numbers().numel() < rank(); }

NamedTensors AdaloraAdapter::left() const {
  const auto& numbers = left_numbers();
  return {{"lora_A", a_.detach().index_select(0, numbers)},
          {"lora_B", b_.detach().index_select(1, numbers)},
          {"lora_E", e_.detach().index_select(0, numbers)}};
}

NamedTensors AdaloraAdapter::scoring_state() const {
  if (!mask_.defined()) return {};
  return {{"mask", mask_},
          {"sensitivity_A", sensitivity_[0]}, {"sensitivity_B", sensitivity_[1]}, {"sensitivity_E", sensitivity_[2]},
          {"uncertainty_A", uncertainty_[0]}, {"uncertainty_B", uncertainty_[1]}, {"uncertainty_E", uncertainty_[2]}};
}

const at::Tensor& AdaloraAdapter::left_numbers() const {
  // A resumed run gets the mask's values back behind our back.
  if (left_version_ != mask_._version()) left_ = mask_.nonzero().view({-1}), left_version_ = mask_._version();
  return left_;
}

}  // namespace graft::peft
