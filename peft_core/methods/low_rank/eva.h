#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// Explained variance adaptation: A starts as the principal components of the layer's inputs on the task, and layers get ranks by how much
/// variance their components explain.
///   S = Σ (x − x̄)(x − x̄)ᵀ over the samples' tokens = V diag(λ) Vᵀ;   A0 = the first components of V, B0 = 0;   y as LoRA
///
/// Shapes   as LoRA; S (in, in) fp64. A layer's rank is up to rho · rank, their sum as with equal ranks; a layer of rank 0 gets no adapter.
/// Cost     a pass over the samples for as many layers as fit into 1 GiB, and a symmetric eigenproblem of size in for each distinct input.
/// Throws   InvalidArgument without samples.
/// Source   Paischer et al. 2024, arXiv:2410.07170; options and file layout of Hugging Face PEFT.
MethodSpec eva_method();

}  // namespace graft::peft
