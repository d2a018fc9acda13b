#pragma once

#include <bit>
#include <cstdint>

#include "kernels/base/host_device.h"

namespace graft::kernels {

/// IEEE half to fp32, branch-free so that loops over it vectorise, and without denormal fp32 operands so that a processor told to
/// flush them gives the same answer. NaN becomes quiet, as the processor's own conversion does.
GRAFT_HOST_DEVICE inline float half_to_float_inline(uint16_t half) {
#if defined(__CUDA_ARCH__)
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
  return value;
#else
  constexpr uint32_t kRebias = (127u - 15u) << 23;
  const uint32_t magnitude = static_cast<uint32_t>(half & 0x7fffu) << 13;
  const uint32_t exponent = magnitude & 0x0f800000u;
  const uint32_t normal = magnitude + kRebias;
  // Below the smallest normal: 2^-14 + m * 2^-24, less 2^-14, is exact in fp32.
  const float subnormal = std::bit_cast<float>(magnitude + kRebias + (1u << 23)) - std::bit_cast<float>(kRebias + (1u << 23));
  const uint32_t quiet = (magnitude & 0x007fffffu) != 0 ? 0x00400000u : 0u;
  const uint32_t special = magnitude | 0x7f800000u | quiet;
  uint32_t bits = exponent == 0 ? std::bit_cast<uint32_t>(subnormal) : normal;
  bits = exponent == 0x0f800000u ? special : bits;
  return std::bit_cast<float>(bits | (static_cast<uint32_t>(half & 0x8000u) << 16));
#endif
}

}  // namespace graft::kernels
