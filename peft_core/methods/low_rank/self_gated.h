#pragma once

#include <ATen/core/Tensor.h>

#include "peft_core/base/config.h"

// Self-gated activations φ(z) = z g(z): how they answer to small changes of z.
namespace graft::peft {

/// g: the logistic function for SiLU, the normal distribution for GELU, a step for ReLU.
enum class SelfGated { kSilu, kGelu, kRelu };
inline EnumNames<SelfGated> config_names(SelfGated) {
  return {{"silu", SelfGated::kSilu}, {"gelu", SelfGated::kGelu}, {"relu", SelfGated::kRelu}};
}

/// φ'(z), element by element, fp32.
at::Tensor slope(SelfGated activation, const at::Tensor& z);
/// Effective homogeneity κ(z) = z φ'(z) / φ(z) = 1 + z g'(z) / g(z), from the closed form: 1 on the straight side, 0 at φ's minimum. ReLU: 1.
at::Tensor homogeneity(SelfGated activation, const at::Tensor& z);
/// Where φ' crosses zero: −1.2785 for SiLU, −0.7518 for GELU; 0 for ReLU.
double zero_of_slope(SelfGated activation);

}  // namespace graft::peft
