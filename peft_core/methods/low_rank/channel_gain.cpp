#include "peft_core/methods/low_rank/channel_gain.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "peft_core/memory/move_in_place.h"

namespace graft::peft {

ChannelGain::ChannelGain(std::string name, int64_t channels, const ChannelGainOptions& options)
    : name_(std::move(name)), options_(options), importance_(at::zeros({channels}, at::kFloat)), weight_(at::zeros({channels}, at::kFloat)),
      mask_(at::ones({channels}, at::kFloat)), factor_(at::ones({channels}, at::kFloat)), importance_sum_(at::zeros({channels}, at::kDouble)),
      weight_sum_(at::zeros({channels}, at::kDouble)) {}

void ChannelGain::watch(const at::Tensor& z) {
  const at::NoGradGuard no_gradient;
  const int64_t all = z.size(0), stride = options_.sampled_tokens == 0 ? 1 : std::max<int64_t>(1, (all + options_.sampled_tokens - 1) / options_.sampled_tokens);
  const auto some = z.detach().slice(0, 0, all, stride).to(at::kFloat);
  importance_sum_ += slope(options_.activation, some).abs_().sum({0}, /*keepdim=*/false, at::kDouble);
  if (options_.scaling == StepScaling::kClasses) weight_sum_ += class_weights(some).sum({0}, false, at::kDouble);
  if (options_.scaling == StepScaling::kHomogeneity) weight_sum_ += homogeneity(options_.activation, some).abs_().sum({0}, false, at::kDouble);
  tokens_ += some.size(0);
}

at::Tensor ChannelGain::class_weights(const at::Tensor& z) const {
  const auto below = at::where(z > zero_of_slope(options_.activation), at::scalar_tensor(options_.transitional, at::kFloat),
                               at::scalar_tensor(options_.suppressed, at::kFloat));
  return at::where(z > 0, at::scalar_tensor(options_.positive, at::kFloat), below);
}

void ChannelGain::end_step(int64_t step) {
  if (tokens_ > 0) {
    const auto average = [&](at::Tensor& kept, at::Tensor& sum) {
      kept.mul_(options_.decay).add_(sum / static_cast<double>(tokens_), 1 - options_.decay);
      sum.zero_();
    };
    average(importance_, importance_sum_), average(weight_, weight_sum_);
    tokens_ = 0;
  }
  const int64_t done = step + 1;
  if (done >= options_.start && (done - options_.start) % options_.refresh == 0) refresh(done);
}

void ChannelGain::refresh(int64_t done) {
  const auto channels = importance_.numel();
  if (options_.threshold) {
    mask_.copy_((importance_ >= *options_.threshold * importance_.max()).to(at::kFloat));
  } else {
    const auto kept = std::clamp<int64_t>(std::llround(std::ceil(options_.kept_share * static_cast<double>(channels))), 1, channels);
    mask_.zero_();
    mask_.index_fill_(0, std::get<1>(importance_.sort(/*stable=*/true, /*dim=*/0, /*descending=*/true)).narrow(0, 0, kept), 1);
  }
  mask_.clamp_min_(options_.floor);
  if (options_.scaling == StepScaling::kNone) return;
  factor_.copy_(weight_ / (1 - std::pow(options_.decay, static_cast<double>(done))));  // the averages began at 0
  if (options_.scaling == StepScaling::kHomogeneity) factor_.clamp_(0.1, 1.28);
}

bool ChannelGain::at_work() const { return !(mask_.eq(1).all().item<bool>() && factor_.eq(1).all().item<bool>()); }

void ChannelGain::move_to(at::Device device) const {
  for (const auto& kept : {importance_, weight_, mask_, factor_, importance_sum_, weight_sum_}) move_in_place(kept, device);
}

NamedTensors ChannelGain::state() const {
  return {{name_ + ".importance", importance_}, {name_ + ".class_weight", weight_}, {name_ + ".mask", mask_}, {name_ + ".step_factor", factor_}};
}

}  // namespace graft::peft
