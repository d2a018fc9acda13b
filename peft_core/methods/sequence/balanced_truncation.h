#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace graft::peft {

/// s_t = A s_(t-1) + B u_t, y_t = C s_t; A (d, d), B (d, m), C (p, d), fp64.
struct LinearSystem {
  at::Tensor a, b, c;
};

/// Gramians of a system with a diagonal A, exact: Wc = A Wc A^T + B B^T and Wo = A^T Wo A + C^T C, (d, d). Entries of A lie inside (-1, 1).
struct Gramians {
  at::Tensor controllability, observability;
};
Gramians gramians(const at::Tensor& diagonal, const at::Tensor& b, const at::Tensor& c);

struct ReducedSystem {
  LinearSystem system;
  at::Tensor hankel_values;  ///< all d singular values, largest first
  double error_bound;        ///< of the transfer function in the H-infinity norm: twice the sum of those left out
};

/// Balanced truncation (Moore 1981): keeps the states whose Hankel singular value is at least `tolerance` of the largest, one at least.
/// Shapes   diagonal (d), b (d, m), c (p, d), any floating type; computed in fp64.
/// Throws   InvalidArgument for an entry of the diagonal outside (-1, 1) or a tolerance outside [0, 1].
ReducedSystem balanced_truncation(const at::Tensor& diagonal, const at::Tensor& b, const at::Tensor& c, double tolerance);

}  // namespace graft::peft
