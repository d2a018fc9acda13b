#include "peft_core/methods/low_rank/self_gated.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "kernels/base/error.h"

namespace graft::peft {
namespace {

constexpr double kRootHalf = std::numbers::sqrt2 / 2;

at::Tensor normal_distribution(const at::Tensor& z) { return at::erfc(z * -kRootHalf) * 0.5; }
at::Tensor normal_density(const at::Tensor& z) { return at::exp(z.square() * -0.5) * (kRootHalf / std::sqrt(std::numbers::pi)); }

at::Tensor in_fp32(const at::Tensor& z) { return z.scalar_type() == at::kDouble ? z : z.to(at::kFloat); }

}  // namespace

at::Tensor slope(SelfGated activation, const at::Tensor& input) {
  const auto z = in_fp32(input);
  switch (activation) {
    case SelfGated::kSilu: {
      const auto g = at::sigmoid(z);
      return g * (1 + z * (1 - g));
    }
    case SelfGated::kGelu: return normal_distribution(z) + z * normal_density(z);
    case SelfGated::kRelu: return (z > 0).to(z.scalar_type());
  }
  GRAFT_ASSERT(false);
}

at::Tensor homogeneity(SelfGated activation, const at::Tensor& input) {
  const auto z = in_fp32(input);
  switch (activation) {
    case SelfGated::kSilu: return 1 + z * (1 - at::sigmoid(z));
    case SelfGated::kGelu: {
      const auto within = z.clamp_min(-10);  // below, both parts of the quotient leave fp32's range; there κ is about −z² anyway
      return 1 + within * normal_density(within) / normal_distribution(within);
    }
    case SelfGated::kRelu: return at::ones_like(z);
  }
  GRAFT_ASSERT(false);
}

double zero_of_slope(SelfGated activation) {
  return activation == SelfGated::kSilu ? -1.2784645427610738 : activation == SelfGated::kGelu ? -0.7517915246935645 : 0.0;
}

}  // namespace graft::peft
