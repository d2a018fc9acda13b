#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// y = W x + b + s · Σⱼ Bⱼ (λⱼ ⊙ A (γⱼ ⊙ drop(x))): A and the bases Bⱼ are random, frozen and shared by all layers; λ (r, n) and γ (n, m) are
/// trained, m the layer's smaller side and n = ⌈m / r⌉ bases, so that the update reaches full rank. Where in > out it is transposed.
///
/// Start    λ = 0, so attaching changes no output; bases from projection_prng_key, the same as PEFT's bit for bit.
/// Source   Albert et al. 2025, arXiv:2502.00987; pairing of bases and file layout of Hugging Face PEFT.
MethodSpec randlora_method();

}  // namespace graft::peft
