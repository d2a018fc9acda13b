#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// LoRA for gated feed-forward blocks whose gate learns only in channels that the activation lets answer.
///   forward, files and merging: lora's. While training, rows j of the gate's B and their part in A's gradient are weighed with m_j c_j
///   (peft_core/methods/low_rank/channel_gain.h); x's gradient stays exact.
///
/// Shapes   as lora.
/// Start    lora's; masks begin after `mask_start` steps.
/// Throws   InvalidArgument as lora, and for a model without gates among the adapted layers.
/// Source   after the idea of Yuan et al. 2026, arXiv:2606.31717, of which the abstract was read; docs/methods/na_lora.md.
MethodSpec na_lora_method();

}  // namespace graft::peft
