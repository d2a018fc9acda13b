#pragma once

// Private to this folder: element access and exp, written so that the compiler vectorises them for each instruction set.

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/base/vectorised.h"

namespace graft::kernels::detail {

struct Bf16 {
  uint16_t bits;
};

inline float load(float v) { return v; }
inline float load(Bf16 v) { return std::bit_cast<float>(static_cast<uint32_t>(v.bits) << 16); }
inline void store(float& to, float v) { to = v; }
inline void store(Bf16& to, float v) {
  const auto bits = std::bit_cast<uint32_t>(v);
  to.bits = static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/// exp by splitting off the power of two and a degree-6 polynomial: relative error below 3e-7 on [-87, 88]; vectorises, unlike
/// the library's.
inline float exponential(float x) {
  x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
  const float n = std::floor(x * 1.44269504f + 0.5f);
  const float r = x - n * 0.693359375f - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

}  // namespace graft::kernels::detail
