#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// LoRA behind a layer, as CLIPoint3D adapts CLIP: on what the attention's output projection gives, and as usual on the other layers.
///   layers named in `after`:  y = o + s · B A drop(o),  o = W x + b
///   the others:               y = W x + b + s · B A drop(x)
///
/// Shapes   x (N, in), o and y (N, out); A (r, out) behind a layer, (r, in) beside it; B (out, r); fp32. s = alpha / r.
/// Init     A normal with deviation 0.01, B = 0, so attaching changes no output.
/// Gradient exact.
/// Merging  behind a layer W <- (I + s B A) W and b <- (I + s B A) b; beside it W <- W + s B A.
/// Throws   InvalidArgument if the rank is below 1 or above a layer's sizes, or a pattern matches nothing.
/// Source   CLIPoint3D, arXiv:2602.20409, and its released code, whose own merge forgets that o is projected already.
MethodSpec output_lora_method();

}  // namespace graft::peft
