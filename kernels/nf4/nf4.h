#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace graft::kernels {

/// A weight in 4-bit NormalFloat, in bitsandbytes' layout: byte-equal to its packing.
struct Nf4Weight {
  std::vector<uint8_t> codes;   ///< two codes a byte, the first in the high nibble; ceil(n / 2)
  int64_t count = 0;            ///< number of weights n
  int64_t block_size = 64;      ///< weights that share one absmax

  // Either plain absmax ...
  std::vector<float> absmax;            ///< one a block; empty when double quantised
  // ... or double quantised: absmax[i] = nested_code[absmax_codes[i]] * nested_absmax[i / nested_block_size] + nested_offset
  std::vector<uint8_t> absmax_codes;    ///< one a block
  std::vector<float> nested_code;       ///< the 256 values of the dynamic map
  std::vector<float> nested_absmax;     ///< one per nested block
  float nested_offset = 0.0f;           ///< mean of absmax, subtracted before the second quantisation
  int64_t nested_block_size = 256;

  bool double_quantised() const { return !absmax_codes.empty(); }
  double bits_per_weight() const;       ///< 4.5 plain, 4.127 double quantised, at the default block sizes
};

std::span<const float> nf4_table();          ///< the 16 values, ascending
std::vector<float> dynamic_map_8bit();       ///< the 256 signed values of bitsandbytes' dynamic map, ascending

/// Throws InvalidArgument for a block size that is not a power of two in 32..4096.
Nf4Weight quantize_nf4(std::span<const float> weights, int64_t block_size = 64, bool double_quantise = true);

/// Expands weights [first, first + out.size()); `first` must be a multiple of block_size. fp32, or bf16 rounded to nearest even.
void dequantize_nf4(const Nf4Weight& weight, int64_t first, std::span<float> out);
void dequantize_nf4(const Nf4Weight& weight, int64_t first, std::span<uint16_t> out_bf16);
/// A part of a weight that is a matrix of rows of `row_length`: rows [row, row + rows), columns [column, column + columns).
struct Nf4Part {
  int64_t row_length = 0, row = 0, rows = 0, column = 0, columns = 0;
};
/// Expands a part to bf16, rows `stride` apart; it may begin anywhere. Thread-safe, in the calling thread; quickest where `column` and
/// `row_length` are multiples of block_size. Throws InvalidArgument if the part does not lie in the weight.
void dequantize_nf4_part(const Nf4Weight& weight, const Nf4Part& part, uint16_t* to, int64_t stride);
/// The plain version that defines the right answer.
void dequantize_nf4_reference(const Nf4Weight& weight, int64_t first, std::span<float> out);

}  // namespace graft::kernels
