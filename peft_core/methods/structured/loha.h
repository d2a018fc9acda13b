#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// Low-rank Hadamard product: the update is the product, value by value, of two low-rank matrices, and can reach rank r².
///   y = W x + b + s · ((A1 B1) ∘ (A2 B2)) x,   s = alpha / r
///
/// Shapes   A1, A2 (out, r); B1, B2 (r, in); fp32. Start: B2 = 0, the others uniform.
/// Cost     the update is a plain low-rank product of rank r² whose factors are all products of a column of A1 with one of A2, and of a row of
///          B1 with one of B2. Where r² is too large for that to pay, the update is made dense, once a call.
/// Source   Hyeon-Woo et al. 2021 (FedPara), arXiv:2108.06098; files of Hugging Face PEFT's LOHA.
MethodSpec loha_method();

}  // namespace graft::peft
