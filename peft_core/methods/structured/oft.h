#pragma once

#include <ATen/core/Tensor.h>

#include "peft_core/methods/method.h"

namespace graft::peft {

/// Orthogonal fine-tuning: the inputs are rotated, block by block, before they meet the frozen weight.
///   y = (x R) Wᵀ + b for rows x,   R = diag(R_1 .. R_k), R_i from the skew-symmetric Q_i by Cayley's transform
///
/// Shapes   in = k · block; oft_R.weight (k, block (block − 1) / 2), Q's values above the diagonal, row by row, fp32; (1, …) with block_share.
///          Start: zeros, so R = I.
/// Cost     x (R − I) is added to x: in · block multiplications a row. W stays as it is stored.
/// Source   Qiu et al. 2023, arXiv:2306.07280; Cayley–Neumann form of Qiu et al. 2025, arXiv:2506.19847; files of Hugging Face PEFT's OFT.
MethodSpec oft_method();

/// R − I of one or more blocks: `values` (k, block (block − 1) / 2) -> (k, block, block). 0 gives exactly 0.
/// terms    of the Neumann series as PEFT counts them: 2: 2Q; 3 and 4: 2Q + 2Q² + Q³; 5: 2Q + 2Q² + 2Q³ + Q⁴; ...; 0: the exact transform, which
///          in PEFT turns the other way, (I − Q)(I + Q)⁻¹.
at::Tensor cayley_minus_identity(const at::Tensor& values, int64_t block, int64_t terms);

}  // namespace graft::peft
