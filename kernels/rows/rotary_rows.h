#pragma once

#include <cstdint>

#include "kernels/rows/element.h"

namespace graft::kernels {

/// Rotates the two halves of every head by the token's angles. x, y (tokens, heads, width); cosine, sine (tokens, width / 2) fp32.
/// `sign` 1 rotates, -1 rotates back. y may be x.
void rotate_halves_rows(Element type, const void* x, const float* cosine, const float* sine, float sign, int64_t tokens,
                        int64_t heads, int64_t width, void* y);

}  // namespace graft::kernels
