#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// Astra: the pair starts in a space of eigenvectors of the layer's outputs on the task.
///   C = mean over samples of (Y/m)ᵀ(Y/m), Y (tokens, out) with the bias, m = |max Y|;   V = r eigenvectors of C
///   B0 = V,  A0 = Vᵀ W,   y = W x + b + s (B A − B0 A0) drop(x)
///
/// Shapes   as LoRA; C (out, out) fp64. The base is not changed; see residual_start.h.
/// Choice   `eigenvectors`: smallest (the paper's words), largest (what its released code does), middle.
/// Cost     a pass over the samples for as many layers as fit into 1 GiB, and a symmetric eigenproblem of size out a layer.
/// Throws   InvalidArgument without samples.
/// Source   after the idea of Liu et al. 2026, arXiv:2602.19111, and their released code.
MethodSpec astra_method();

}  // namespace graft::peft
