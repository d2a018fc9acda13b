#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include "kernels/base/error.h"
#include "kernels/gguf_blocks/gguf_blocks.h"

namespace graft::kernels {
namespace {

constexpr size_t kElements = 32, kBytes = 34;
constexpr float kLargestHalf = 65504.0f;

/// As bits, magnitudes order like integers and NaN comes out above infinity, so that one maximum finds both.
float largest_magnitude(const float* values) {
  uint32_t largest = 0;
  for (size_t i = 0; i < kElements; ++i) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(values[i]) & 0x7fffffffu;
    largest = magnitude > largest ? magnitude : largest;
  }
  return std::bit_cast<float>(largest);
}

void quantize_block(const float* values, std::byte* block, size_t first) {
  const float scale = largest_magnitude(values) / 127.0f;
  if (!(scale <= kLargestHalf)) {
    throw InvalidArgument({.where = "values " + std::to_string(first) + " to " + std::to_string(first + kElements - 1),
                           .what = "cannot become Q8_0: one is not finite or too large for a scale in half precision"});
  }
  const uint16_t half = float_to_half(scale);
  std::memcpy(block, &half, sizeof half);
  // The codes come from the scale before it was rounded to half, as in GGUF's own tools. A scale whose inverse overflows is zero as a half.
  const float inverse = scale > 0.0f && std::isfinite(1.0f / scale) ? 1.0f / scale : 0.0f;
  for (size_t i = 0; i < kElements; ++i) block[2 + i] = static_cast<std::byte>(static_cast<int8_t>(std::round(values[i] * inverse)));
}

}  // namespace

void quantize_q8_0(std::span<const float> values, std::span<std::byte> blocks) {
  if (values.size() % kElements != 0 || blocks.size() / kBytes != values.size() / kElements || blocks.size() % kBytes != 0) {
    throw InvalidArgument({.where = "Q8_0", .what = "needs 34 bytes for each 32 values", .expected = std::to_string(values.size() / kElements * kBytes),
                           .got = std::to_string(blocks.size()) + " bytes for " + std::to_string(values.size()) + " values"});
  }
  for (size_t b = 0; b < values.size() / kElements; ++b) quantize_block(&values[b * kElements], &blocks[b * kBytes], b * kElements);
}

}  // namespace graft::kernels
