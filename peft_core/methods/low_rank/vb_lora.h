#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// LoRA whose factors are put together from one bank of vectors that all layers share: every piece of length L of A's rows and B's columns
/// is a mix of the k vectors of the bank with the largest logits, weighted by their softmax.
///
/// Start    bank uniform in ±init_vector_bank_bound, logits normal; the update is small and not zero, as in the paper.
/// Throws   InvalidArgument where L does not divide both sides of every layer, and on training from a file that keeps only the k weights.
/// Source   Li et al. 2024, arXiv:2405.15179; file layout of Hugging Face PEFT.
MethodSpec vb_lora_method();

}  // namespace graft::peft
