// The block structures of GGUF, written down value by value: what weight number i of a block is.
#include <cstring>

#include "kernels/base/bfloat16.h"
#include "kernels/base/error.h"
#include "kernels/gguf_blocks/variants.h"

namespace graft::kernels::detail {
namespace {

float half_at(const uint8_t* p) {
  uint16_t bits = 0;
  std::memcpy(&bits, p, sizeof bits);
  return half_to_float(bits);
}

int nibble(const uint8_t* bytes, size_t index, bool high) { return high ? bytes[index] >> 4 : bytes[index] & 15; }

/// Blocks of 32: the first 16 weights in the low nibbles, the others in the high ones.
int nibble_of_32(const uint8_t* bytes, size_t i) { return nibble(bytes, i % 16, i >= 16); }

int bit_of_32(const uint8_t* bytes, size_t i) { return (bytes[i / 8] >> (i % 8)) & 1; }

/// Q4_K and Q5_K pack 8 scales and 8 minima of 6 bits each into 12 bytes.
int scale_6bit(const uint8_t* s, size_t j) { return j < 4 ? s[j] & 63 : (s[j + 4] & 15) | ((s[j - 4] >> 6) << 4); }
int minimum_6bit(const uint8_t* s, size_t j) { return j < 4 ? s[j + 4] & 63 : (s[j + 4] >> 4) | ((s[j] >> 6) << 4); }

float k_weight(const uint8_t* block, size_t i, int code) {
  const uint8_t* scales = block + 4;
  const size_t group = i / 32;
  const float scale = half_at(block) * static_cast<float>(scale_6bit(scales, group));
  const float minimum = half_at(block + 2) * static_cast<float>(minimum_6bit(scales, group));
  return scale * static_cast<float>(code) - minimum;
}

/// Groups of 32 come in pairs: the same 32 bytes hold the even group low and the odd group high.
int k_nibble(const uint8_t* codes, size_t i) { return nibble(codes, i / 64 * 32 + i % 32, (i / 32) % 2 == 1); }

float q6_k_weight(const uint8_t* block, size_t i) {
  const uint8_t *low = block, *high = block + 128, *scales = block + 192;
  const size_t half = i / 128, within = i % 128;
  const int low_bits = nibble(low, half * 64 + within % 64, within >= 64);
  const int high_bits = (high[half * 32 + within % 32] >> (2 * (within / 32))) & 3;
  const float scale = half_at(block + 208) * static_cast<float>(static_cast<int8_t>(scales[i / 16]));
  return scale * static_cast<float>((low_bits | (high_bits << 4)) - 32);
}

float float_at(const uint8_t* p) {
  float value = 0;
  std::memcpy(&value, p, sizeof value);
  return value;
}

float bfloat16_at(const uint8_t* p) {
  uint16_t bits = 0;
  std::memcpy(&bits, p, sizeof bits);
  return bfloat16_to_float(bits);
}

float weight(GgmlType type, const uint8_t* block, size_t i) {
  switch (type) {
    case GgmlType::kF32: return float_at(block);
    case GgmlType::kF16: return half_at(block);
    case GgmlType::kBF16: return bfloat16_at(block);
    case GgmlType::kQ8_0: return half_at(block) * static_cast<float>(static_cast<int8_t>(block[2 + i]));
    case GgmlType::kQ4_0: return half_at(block) * static_cast<float>(nibble_of_32(block + 2, i) - 8);
    case GgmlType::kQ4_1: return half_at(block) * static_cast<float>(nibble_of_32(block + 4, i)) + half_at(block + 2);
    case GgmlType::kQ5_0:
      return half_at(block) * static_cast<float>((nibble_of_32(block + 6, i) | (bit_of_32(block + 2, i) << 4)) - 16);
    case GgmlType::kQ5_1:
      return half_at(block) * static_cast<float>(nibble_of_32(block + 8, i) | (bit_of_32(block + 4, i) << 4)) + half_at(block + 2);
    case GgmlType::kQ4_K: return k_weight(block, i, k_nibble(block + 16, i));
    case GgmlType::kQ5_K: return k_weight(block, i, k_nibble(block + 48, i) | (((block[16 + i % 32] >> (i / 32)) & 1) << 4));
    case GgmlType::kQ6_K: return q6_k_weight(block, i);
  }
  GRAFT_ASSERT(!"every GgmlType has its formula");
  return 0.0f;
}

template <class Store>
void for_each_weight(GgmlType type, const uint8_t* blocks, size_t block_count, Store store) {
  const auto layout = block_layout(type);
  for (size_t b = 0; b < block_count; ++b) {
    for (size_t i = 0; i < layout.elements; ++i) store(b * layout.elements + i, weight(type, blocks + b * layout.bytes, i));
  }
}

}  // namespace

void dequantize_reference(GgmlType type, const uint8_t* blocks, size_t block_count, float* out) {
  for_each_weight(type, blocks, block_count, [out](size_t i, float value) { out[i] = value; });
}

void dequantize_reference(GgmlType type, const uint8_t* blocks, size_t block_count, uint16_t* out) {
  for_each_weight(type, blocks, block_count, [out](size_t i, float value) { out[i] = float_to_bfloat16(value); });
}

}  // namespace graft::kernels::detail
