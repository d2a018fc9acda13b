#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// C3A: the update is cut into square blocks, each of which is a circulant matrix: a circular convolution.
///
///     y = W x + bias + D x        D[i b + k, j b + l] = w[i, j, (l − k) mod b] / in
///
/// Shapes   w (out / b, in / b, b) fp32. Start: zero; random with the option `init`, which is not the identity.
/// Errors   a layer whose in and out have no common divisor of 8 or more; block_size below 1; a target or pattern that matches nothing.
/// Source   Chen et al. 2024, arXiv:2407.19342.
MethodSpec c3a_method();

}  // namespace graft::peft
