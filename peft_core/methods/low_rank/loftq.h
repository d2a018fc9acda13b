#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// LoftQ: LoRA on a 4-bit base whose start makes up for what quantising lost.
///   Q₁ = nf4(W);   s B_t A_t = leading r singular directions of W − Q_t;   Q_{t+1} = nf4(W − s B_t A_t);   y = Q_T x + b + s B A drop(x)
///
/// Shapes   as LoRA. With one iteration the base stays as it was loaded (NF4); with more, or on a dense base, the adapter brings its own Q.
/// Throws   InvalidArgument for bits other than 4, and where the weight before quantising cannot be had (quantised in its file).
/// Source   Li et al. 2023, arXiv:2310.08659; options of Hugging Face PEFT.
MethodSpec loftq_method();

}  // namespace graft::peft
