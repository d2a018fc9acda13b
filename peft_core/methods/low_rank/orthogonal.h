#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// LoRA with both factors random and orthogonal to each other, so that B A = 0 although neither is zero.
///   Q (r, r) random orthogonal, Q₊ its even rows and Q₋ its odd rows;  A = (X₁ Q₋)ᵀ / 10,  B = X₂ Q₊ / 10,  X random;  B A = X₂ Q₊ Q₋ᵀ X₁ᵀ / 100 = 0
///
/// Shapes   as LoRA; X₁ (in, r/2), X₂ (out, r/2) standard normal. B A is zero up to rounding.
/// Throws   InvalidArgument for an odd rank.
/// Source   Hugging Face PEFT's init_lora_weights="orthogonal", after a note by Datta (2024).
MethodSpec orthogonal_method();

}  // namespace graft::peft
