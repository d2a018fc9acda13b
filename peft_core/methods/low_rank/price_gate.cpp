#include "peft_core/methods/low_rank/price_gate.h"

#include <ATen/ATen.h>

#include <cmath>

#include "peft_core/base/rng.h"

namespace graft::peft {
namespace {

constexpr double kFirstLogit = 0.5;

/// In (0, 1).
double uniform(uint64_t seed) { return (static_cast<double>(stream_seed(seed, "price gate", 0) >> 11) + 0.5) * 0x1p-53; }

double drawn(GateNoise noise, uint64_t seed) {
  if (noise == GateNoise::kNone) return 0;
  const double u = uniform(seed);
  return noise == GateNoise::kGumbel ? -std::log(-std::log(u)) : std::log(u) - std::log1p(-u);
}

}  // namespace

PriceGate::PriceGate(const Options& options)
    : options_(options), logit_(at::full({1}, kFirstLogit, at::kFloat).requires_grad_()), adam_(at::zeros({3}, at::kFloat)) {}

at::Tensor PriceGate::sample(uint64_t seed) const {
  const auto soft = at::sigmoid((logit_ + drawn(options_.noise, seed)) / options_.temperature);
  const auto hard = (soft > 0.5).to(at::kFloat);
  return soft + (hard - soft).detach();
}

void PriceGate::learn() {
  const at::NoGradGuard no_gradient;
  if (!logit_.grad().defined()) return;
  const double g = logit_.grad().item<double>();
  auto* adam = adam_.mutable_data_ptr<float>();
  const double t = static_cast<double>(adam[2]) + 1;
  const double m = 0.9 * static_cast<double>(adam[0]) + 0.1 * g, v = 0.999 * static_cast<double>(adam[1]) + 0.001 * g * g;
  adam[0] = static_cast<float>(m), adam[1] = static_cast<float>(v), adam[2] = static_cast<float>(t);
  const double step = m / (1 - std::pow(0.9, t)) / (std::sqrt(v / (1 - std::pow(0.999, t))) + 1e-8);
  logit_.detach().mul_(1 - options_.rate * options_.decay).sub_(options_.rate * step);
  logit_.mutable_grad() = at::Tensor();
}

NamedTensors PriceGate::state() const { return {{"lite_lora_gate.logit", logit_}, {"lite_lora_gate.adam", adam_}}; }

}  // namespace graft::peft
