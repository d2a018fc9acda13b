#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/gguf_blocks/gguf_blocks.h"

namespace graft::kernels {

/// One way to expand blocks. All give the same bits; sizes were checked before.
struct DequantizeVariant {
  std::string_view name;
  bool (*supported)();
  void (*to_float)(GgmlType type, const uint8_t* blocks, size_t block_count, float* out);
  void (*to_bfloat16)(GgmlType type, const uint8_t* blocks, size_t block_count, uint16_t* out);
};

/// Best first; the last is the plain reference that defines the right answer.
std::span<const DequantizeVariant> dequantize_variants();

namespace detail {

void dequantize_reference(GgmlType type, const uint8_t* blocks, size_t block_count, float* out);
void dequantize_reference(GgmlType type, const uint8_t* blocks, size_t block_count, uint16_t* out);
void dequantize_portable(GgmlType type, const uint8_t* blocks, size_t block_count, float* out);
void dequantize_portable(GgmlType type, const uint8_t* blocks, size_t block_count, uint16_t* out);
bool avx2_supported();
void dequantize_avx2(GgmlType type, const uint8_t* blocks, size_t block_count, float* out);
void dequantize_avx2(GgmlType type, const uint8_t* blocks, size_t block_count, uint16_t* out);
bool avx512_supported();
void dequantize_avx512(GgmlType type, const uint8_t* blocks, size_t block_count, uint16_t* out);

}  // namespace detail
}  // namespace graft::kernels
