#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/nf4/nf4.h"

#define GRAFT_ALWAYS_INLINE inline __attribute__((always_inline))

namespace graft::kernels::detail {

constexpr float kSmallestScale = 1e-38f;  // bitsandbytes' guard against division by zero

struct Nf4Borders {
  std::array<float, 15> between{};  ///< middles of neighbouring values
  Nf4Borders() {
    for (size_t i = 0; i < between.size(); ++i) between[i] = (nf4_table()[i] + nf4_table()[i + 1]) / 2.0f;
  }
};

GRAFT_ALWAYS_INLINE float largest_of(const float* values, size_t count) {
  float largest = 0.0f;
  for (size_t i = 0; i < count; ++i) {
    const float magnitude = __builtin_fabsf(values[i]);
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
}

/// The codes of up to 4096 weights: how many borders lie below each.
GRAFT_ALWAYS_INLINE void codes_of(const float* scaled, size_t count, const Nf4Borders& borders, int32_t* codes) {
  for (size_t i = 0; i < count; ++i) {
    const float value = scaled[i] < -1.0f ? -1.0f : (scaled[i] > 1.0f ? 1.0f : scaled[i]);
    int32_t below = 0;
    for (size_t border = 0; border < 15; ++border) below += borders.between[border] < value ? 1 : 0;
    codes[i] = below;
  }
}

GRAFT_ALWAYS_INLINE void quantize_blocks(std::span<const float> weights, size_t block_size, uint8_t* codes, float* absmax) {
  constexpr int32_t kCodeOfZero = 7;  // fills the last nibble of an odd count
  constexpr size_t kRun = 32;
  const Nf4Borders borders;
  for (size_t first = 0; first < weights.size(); first += block_size) {
    const bool whole = weights.size() - first >= block_size;
    const size_t count = whole ? block_size : weights.size() - first;
    const float largest = largest_of(&weights[first], count);
    const float guarded = largest > kSmallestScale ? largest : kSmallestScale;
    // bitsandbytes multiplies whole blocks by the inverse and divides a last short one; the bits differ.
    absmax[first / block_size] = whole ? largest : guarded;
    const float inverse = 1.0f / guarded;
    for (size_t run = 0; run < count; run += kRun) {
      float scaled[kRun] = {};
      int32_t code[kRun];
      const size_t length = count - run < kRun ? count - run : kRun;
      const float* source = &weights[first + run];
      if (whole) {
        for (size_t i = 0; i < kRun; ++i) scaled[i] = source[i] * inverse;
      } else {
        for (size_t i = 0; i < length; ++i) scaled[i] = source[i] / guarded;
      }
      codes_of(scaled, kRun, borders, code);
      if (length % 2 == 1) code[length] = kCodeOfZero;
      for (size_t i = 0; i < (length + 1) / 2; ++i) codes[(first + run) / 2 + i] = static_cast<uint8_t>(code[2 * i] << 4 | code[2 * i + 1]);
    }
  }
}

}  // namespace graft::kernels::detail
