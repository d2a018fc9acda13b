#include <vector>

#include "kernels/base/bfloat16.h"
#include "kernels/gguf_blocks/variants.h"
#include "kernels/row_product/variants.h"

namespace graft::kernels::detail {
namespace {

float value_of(const FewRows& rows, int64_t row, int64_t column) {
  const int64_t place = row * rows.stride + column;
  return rows.fp32 != nullptr ? rows.fp32[place] : bfloat16_to_float(rows.bf16[place]);
}

/// The whole weight, row-major.
std::vector<float> expanded(const RowWeight& weight, int64_t out, int64_t in) {
  std::vector<float> values(static_cast<size_t>(out * in));
  if (weight.form == RowWeight::Form::kNf4) {
    dequantize_nf4_reference(*weight.nf4, 0, values);
    return values;
  }
  for (int64_t n = 0; n < out; ++n) {
    float* row = values.data() + n * in;
    const auto* blocks = reinterpret_cast<const uint8_t*>(weight.blocks) + n * weight.row_bytes;
    dequantize_reference(weight.type, blocks, static_cast<size_t>(in) / block_layout(weight.type).elements, row);
  }
  return values;
}

}  // namespace

void row_product_reference(const RowProduct& p) {
  const auto weight = expanded(p.weight, p.out, p.in);
  for (int64_t m = 0; m < p.rows; ++m) {
    for (int64_t n = 0; n < p.out; ++n) {
      double sum = p.bias != nullptr ? static_cast<double>(p.bias[n]) : 0.0;
      for (int64_t k = 0; k < p.in; ++k) {
        sum += static_cast<double>(value_of(p.x, m, k)) * static_cast<double>(weight[static_cast<size_t>(n * p.in + k)]);
      }
      double low_rank = 0.0;
      for (int64_t j = 0; j < p.rank; ++j) {
        low_rank += static_cast<double>(value_of(p.down, m, j)) * static_cast<double>(p.up[n * p.up_row_stride + j * p.up_column_stride]);
      }
      const auto y = static_cast<float>(sum + low_rank * static_cast<double>(p.up_scale));
      const int64_t place = m * p.y_stride + n;
      if (p.y_fp32 != nullptr) {
        p.y_fp32[place] = y;
      } else {
        p.y_bf16[place] = float_to_bfloat16(y);
      }
    }
  }
}

}  // namespace graft::kernels::detail
