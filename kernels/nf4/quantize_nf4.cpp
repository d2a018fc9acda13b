#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "kernels/base/error.h"
#include "kernels/nf4/dynamic_map.h"
#include "kernels/nf4/nf4.h"
#include "kernels/nf4/variants.h"

namespace graft::kernels {
namespace {

/// As bits, every number that is not finite is at least infinity, so that one maximum finds it.
void check_finite(std::span<const float> weights) {
  constexpr uint32_t kInfinity = 0x7f800000u;
  uint32_t largest = 0;
  for (const float weight : weights) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(weight) & 0x7fffffffu;
    largest = magnitude > largest ? magnitude : largest;
  }
  if (largest < kInfinity) return;
  size_t place = 0;
  while (std::isfinite(weights[place])) ++place;
  throw InvalidArgument({.where = "NF4", .what = "cannot hold weight " + std::to_string(place) + ", which is not finite"});
}

void quantize_scales(Nf4Weight& weight) {
  const detail::DynamicCoder coder;
  const size_t nested_size = static_cast<size_t>(weight.nested_block_size), count = weight.absmax.size();
  weight.nested_offset = detail::mean_in_torch_order(weight.absmax);
  weight.nested_code = coder.map();
  weight.absmax_codes.resize(count);
  for (size_t begin = 0; begin < count; begin += nested_size) {
    const size_t end = std::min(begin + nested_size, count);
    float largest = 0.0f;
    for (size_t i = begin; i < end; ++i) largest = std::max(largest, std::fabs(weight.absmax[i] - weight.nested_offset));
    weight.nested_absmax.push_back(largest);
    if (largest == 0.0f) continue;  // codes stay 0, as in bitsandbytes
    const float inverse = 1.0f / largest;
    for (size_t i = begin; i < end; ++i) weight.absmax_codes[i] = coder.code((weight.absmax[i] - weight.nested_offset) * inverse);
  }
  weight.absmax = {};
}

}  // namespace

namespace detail {

void check_nf4_block_size(int64_t block_size) {
  if (block_size >= 32 && block_size <= 4096 && std::has_single_bit(static_cast<uint64_t>(block_size))) return;
  throw InvalidArgument({.where = "NF4 block size", .what = "is not possible", .expected = "a power of two in 32..4096",
                         .got = std::to_string(block_size)});
}

}  // namespace detail

Nf4Weight quantize_nf4(std::span<const float> weights, int64_t block_size, bool double_quantise) {
  detail::check_nf4_block_size(block_size);
  check_finite(weights);
  Nf4Weight result;
  result.count = static_cast<int64_t>(weights.size());
  result.block_size = block_size;
  const auto size = static_cast<size_t>(block_size);
  result.codes.resize((weights.size() + 1) / 2);
  result.absmax.resize((weights.size() + size - 1) / size);
  const auto quantize = detail::nf4_avx2_supported() ? detail::quantize_blocks_avx2 : detail::quantize_blocks_portable;
  quantize(weights, size, result.codes.data(), result.absmax.data());
  if (double_quantise && !weights.empty()) quantize_scales(result);
  return result;
}

}  // namespace graft::kernels
