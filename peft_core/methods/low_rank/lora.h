#pragma once

#include "peft_core/methods/low_rank/lora_family.h"

namespace graft::peft {

/// Low-rank adaptation: y = W x + b + (alpha / r) · B A drop(x).
///
/// Shapes   x (N, in) -> y (N, out); A (r, in), B (out, r), both fp32 whatever the base is.
/// Init     A uniform in ±1/√in (Kaiming with a = √5, as PEFT does), B = 0, so attaching changes no output.
/// Gradient exact.
/// Throws   InvalidArgument if a rank is below 1 or above min(in, out), a pattern or target matches nothing.
/// Source   Hu et al. 2021, arXiv:2106.09685; rsLoRA: Kalajdzievski 2023, arXiv:2312.03732; file layout of Hugging Face PEFT.
MethodSpec lora_method();

}  // namespace graft::peft
