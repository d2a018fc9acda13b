#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/nf4/nf4.h"

namespace graft::kernels::detail {

/// One way to expand NF4 weights. All give the same bits; ranges were checked before.
struct Nf4Variant {
  std::string_view name;
  bool (*supported)();
  void (*to_float)(const Nf4Weight& weight, int64_t first, std::span<float> out);
  void (*to_bfloat16)(const Nf4Weight& weight, int64_t first, std::span<uint16_t> out);
};

/// Best first; the last runs everywhere.
std::span<const Nf4Variant> nf4_variants();

/// The absmax of one block, from either form.
float block_scale(const Nf4Weight& weight, int64_t block);

/// The absmax of `count` blocks.
void block_scales(const Nf4Weight& weight, int64_t first, int64_t count, float* out);

constexpr int64_t kLargestNf4Block = 4096;
/// Throws InvalidArgument unless it is a power of two in 32..4096.
void check_nf4_block_size(int64_t block_size);

bool nf4_avx2_supported();
bool nf4_avx512_supported();
void dequantize_nf4_avx512(const Nf4Weight& weight, int64_t first, std::span<uint16_t> out);
void dequantize_nf4_avx2(const Nf4Weight& weight, int64_t first, std::span<float> out);
void dequantize_nf4_avx2(const Nf4Weight& weight, int64_t first, std::span<uint16_t> out);
void dequantize_nf4_portable(const Nf4Weight& weight, int64_t first, std::span<float> out);
void dequantize_nf4_portable(const Nf4Weight& weight, int64_t first, std::span<uint16_t> out);

/// Codes and absmax of all blocks, one instruction set each; the same bits.
void quantize_blocks_avx2(std::span<const float> weights, size_t block_size, uint8_t* codes, float* absmax);
void quantize_blocks_portable(std::span<const float> weights, size_t block_size, uint8_t* codes, float* absmax);

}  // namespace graft::kernels::detail
