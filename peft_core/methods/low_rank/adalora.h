#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// y = W x + b + s · B (E ⊙ A drop(x)), shaped like a singular value decomposition: A (r, in), B (out, r), E (r) its values; s = alpha / init_r.
/// While training, ranks are moved between the layers: the triplets that matter least to the loss lose their value, until target_r a layer
/// are left on average.
///
/// Start    E = 0, A and B normal with deviation 0.02; attaching changes no output.
/// Throws   InvalidArgument for a schedule that leaves no steps to take ranks away.
/// Source   Zhang et al. 2023, arXiv:2303.10512; schedule, scores and file layout as Hugging Face PEFT has them.
MethodSpec adalora_method();

}  // namespace graft::peft
