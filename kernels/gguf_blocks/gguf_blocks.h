#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace graft::kernels {

/// Element types of GGUF tensors that we read; the numbers are the file's own.
enum class GgmlType : uint32_t {
  kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ5_0 = 6, kQ5_1 = 7, kQ8_0 = 8,
  kQ4_K = 12, kQ5_K = 13, kQ6_K = 14, kBF16 = 30,
};

struct BlockLayout {
  std::string_view name;  ///< "Q4_K", ...
  size_t elements = 1;    ///< weights a block; 1 for plain types
  size_t bytes = 0;       ///< bytes a block
};

/// Layout of a type; throws InvalidArgument that lists the known types for a number we do not read.
BlockLayout block_layout(GgmlType type);
bool is_known_ggml_type(uint32_t number);

/// Expands blocks to fp32, or to bf16 (round to nearest even of the fp32 value).
/// Shapes   blocks: n / layout.elements blocks; out: n values, n a multiple of layout.elements.
/// Throws   InvalidArgument if the sizes disagree. Thread-safe; runs in the calling thread.
/// Source   the published block structures of GGUF.
void dequantize_blocks(GgmlType type, std::span<const std::byte> blocks, std::span<float> out);
void dequantize_blocks(GgmlType type, std::span<const std::byte> blocks, std::span<uint16_t> out_bf16);

/// fp32 to Q8_0 blocks: scale = max|x| / 127 in fp16, codes rounded half away from zero. n must be a multiple of 32.
void quantize_q8_0(std::span<const float> values, std::span<std::byte> blocks);

float half_to_float(uint16_t half);
uint16_t float_to_half(float value);  ///< round to nearest even

}  // namespace graft::kernels
