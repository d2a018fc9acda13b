#include "kernels/gguf_blocks/half.h"

#include "kernels/gguf_blocks/gguf_blocks.h"

namespace graft::kernels {

float half_to_float(uint16_t half) { return half_to_float_inline(half); }

uint16_t float_to_half(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  constexpr uint32_t kInfinity = 0x7f800000u, kOverflow = 0x477ff000u;  // 65520 is the first value that rounds to infinity
  constexpr uint32_t kSmallestNormal = 0x38800000u;                     // 2^-14
  if (magnitude > kInfinity) return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= kOverflow) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude >= kSmallestNormal) {
    const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return static_cast<uint16_t>(sign | ((rounded - ((127u - 15u) << 23)) >> 13));
  }
  // A half below 2^-14 counts units of 2^-24.
  const uint32_t exponent = magnitude >> 23;
  if (exponent < 127 - 25) return sign;
  const uint32_t mantissa = (magnitude & 0x007fffffu) | 0x00800000u;
  const uint32_t shift = 126 - exponent;  // 14 .. 24
  const uint32_t whole = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), tie = 1u << (shift - 1);
  const uint32_t up = rest > tie || (rest == tie && (whole & 1u)) ? 1u : 0u;
  return static_cast<uint16_t>(sign | (whole + up));
}

}  // namespace graft::kernels
