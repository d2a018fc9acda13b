#include <algorithm>
#include <array>
#include <type_traits>

#include "kernels/base/bfloat16.h"
#include "kernels/nf4/quantize_loops.h"
#include "kernels/nf4/variants.h"

namespace graft::kernels::detail {
namespace {

template <class Out>
std::array<Out, 16> scaled_table(float scale) {
  std::array<Out, 16> table{};
  for (size_t code = 0; code < 16; ++code) {
    const float value = nf4_table()[code] * scale;
    if constexpr (std::is_same_v<Out, float>) {
      table[code] = value;
    } else {
      table[code] = float_to_bfloat16(value);
    }
  }
  return table;
}

template <class Out>
void expand(const Nf4Weight& weight, int64_t first, std::span<Out> out) {
  const auto block_size = static_cast<size_t>(weight.block_size);
  const uint8_t* codes = weight.codes.data() + first / 2;
  for (size_t begin = 0; begin < out.size(); begin += block_size) {
    const auto table = scaled_table<Out>(block_scale(weight, (first + static_cast<int64_t>(begin)) / weight.block_size));
    const size_t count = std::min(block_size, out.size() - begin);
    const uint8_t* bytes = codes + begin / 2;
    Out* values = out.data() + begin;
    for (size_t i = 0; i < count / 2; ++i) {
      values[2 * i] = table[bytes[i] >> 4];
      values[2 * i + 1] = table[bytes[i] & 15];
    }
    if (count % 2 == 1) values[count - 1] = table[bytes[count / 2] >> 4];
  }
}

}  // namespace

void dequantize_nf4_portable(const Nf4Weight& weight, int64_t first, std::span<float> out) { expand(weight, first, out); }
void dequantize_nf4_portable(const Nf4Weight& weight, int64_t first, std::span<uint16_t> out) { expand(weight, first, out); }

void quantize_blocks_portable(std::span<const float> weights, size_t block_size, uint8_t* codes, float* absmax) {
  quantize_blocks(weights, block_size, codes, absmax);
}

}  // namespace graft::kernels::detail
