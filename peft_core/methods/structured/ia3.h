#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// One learned vector a layer: y = l ⊙ (W x + b), l (out), or in feed-forward layers y = W (l ⊙ x) + b, l (in).
///
/// Start    l = 1, so attaching changes no output.
/// Throws   InvalidArgument if a target or a feed-forward pattern matches nothing.
/// Source   Liu et al. 2022, arXiv:2205.05638; file layout of Hugging Face PEFT.
MethodSpec ia3_method();

}  // namespace graft::peft
