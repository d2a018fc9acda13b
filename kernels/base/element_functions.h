#pragma once

// Functions of one fp32 number, as one text for the processor and for CUDA devices: where they fuse a product and a sum they say so, so
// both give the same bits. The polynomials are those of kernels/rows/exponential-inl.h.

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/base/host_device.h"

namespace graft::kernels::detail {

/// Bounds that let a NaN through.
GRAFT_HOST_DEVICE inline float at_least(float low, float x) { return x < low ? low : x; }
GRAFT_HOST_DEVICE inline float at_most(float high, float x) { return x > high ? high : x; }

/// exp for any x: relative error below 3e-7, 0 below -87.7, exp(88) above 88, NaN for NaN. exp(x) = 2^n · exp(r), |r| <= ln 2 / 2.
GRAFT_HOST_DEVICE inline float exponential(float x) {
  // Adding 1.5 · 2^23 rounds to an integer, which stands in the sum's last bits; 127 more makes it the exponent field of 2^n.
  constexpr float kShift = 12582912.0f + 127.0f;
  x = at_least(-88.0f, at_most(88.0f, x));
  const float shifted = fmaf(x, 1.44269504f, kShift);
  const float n = shifted - kShift;
  const float r = fmaf(-n, -2.12194440e-4f, fmaf(-n, 0.693359375f, x));  // ln 2 in two parts
  float p = fmaf(r, 1.38142092e-3f, 8.36889852e-3f);
  p = fmaf(p, r, 4.16684059e-2f);
  p = fmaf(p, r, 0.166665191f);
  p = fmaf(p, r, 0.499999933f);
  p = fmaf(fmaf(p, r, 1.0f), r, 1.0f);
  return p * std::bit_cast<float>(std::bit_cast<uint32_t>(shifted) << 23);
}

/// 1 / (1 + exp(-x)).
GRAFT_HOST_DEVICE inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

}  // namespace graft::kernels::detail
