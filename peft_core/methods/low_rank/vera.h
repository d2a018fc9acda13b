#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// y = W x + b + λ_b ⊙ B (λ_d ⊙ A drop(x)): A (r, in) and B (out, r) are random, frozen and one pair for all layers, of which each uses
/// the columns and rows that it needs; λ_d (r) and λ_b (out) are trained.
///
/// Start    λ_d = d_initial, λ_b = 0, so attaching changes no output; A and B from projection_prng_key, the same as PEFT's bit for bit.
/// Source   Kopiczko et al. 2024, arXiv:2310.11454; file layout of Hugging Face PEFT.
MethodSpec vera_method();

}  // namespace graft::peft
