#pragma once

#include <bit>
#include <cstdint>

#include "kernels/base/host_device.h"

namespace graft::kernels {

/// Round to nearest even, as every framework does; NaN stays NaN.
GRAFT_HOST_DEVICE inline uint16_t float_to_bfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x0040u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

GRAFT_HOST_DEVICE inline float bfloat16_to_float(uint16_t value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value) << 16);
}

}  // namespace graft::kernels
