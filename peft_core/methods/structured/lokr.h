#pragma once

#include <cstdint>
#include <utility>

#include "peft_core/methods/method.h"

namespace graft::peft {

/// Low-rank Kronecker product: the update is one small matrix, laid out as the values of another.
///   y = W x + b + s · (C ⊗ D) x,   s = alpha / r,   (C ⊗ D)[i k + p, j n + q] = C[i, j] D[p, q]
///
/// Shapes   out = l k, in = m n; C (l, m), D (k, n), each whole or a product of rank r: lokr_w1 or lokr_w1_a lokr_w1_b, lokr_w2 or lokr_w2_a
///          lokr_w2_b; fp32. Start: C = 0, or D = 0 with init_weights "lycoris".
/// Cost     a row of x is an (m, n) matrix X, and (C ⊗ D) x is C X Dᵀ: the product is never made dense.
/// Source   Yeh et al. 2023 (LyCORIS), arXiv:2309.14859; files of Hugging Face PEFT's LOKR.
MethodSpec lokr_method();

/// n as the product of two factors, as PEFT divides a size: (factor, n / factor) where factor divides n; otherwise the first is the largest
/// divisor that is at most √n and, unless factor is -1, at most factor.
std::pair<int64_t, int64_t> kronecker_factors(int64_t n, int64_t factor);

}  // namespace graft::peft
