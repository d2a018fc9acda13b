#include <omp.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "kernels/base/bfloat16.h"
#include "kernels/base/vectorised.h"
#include "kernels/packed_linear/factor.h"
#include "kernels/packed_linear/layout.h"
#include "kernels/packed_linear/variants.h"

namespace graft::kernels::detail {
namespace {

constexpr int64_t kWorthwhile = 1 << 16;  // products below this are done before a second thread has started

/// sums[n] += a row of up to 32 values times one packed block.
GRAFT_VECTORISED void multiply_block(const uint16_t* x, int64_t count, const uint16_t* block, float* sums) {
  for (int64_t pair = 0; pair < (count + 1) / 2; ++pair) {
    const float even = bfloat16_to_float(x[2 * pair]), odd = 2 * pair + 1 < count ? bfloat16_to_float(x[2 * pair + 1]) : 0.0f;
    for (int64_t tile = 0; tile < 2; ++tile) {
      uint32_t pairs[16];
      std::memcpy(pairs, block + tile * kTileSize + pair * 32, sizeof(pairs));
      float* sum = sums + tile * 16;
      for (int n = 0; n < 16; ++n) {
        sum[n] += even * std::bit_cast<float>(pairs[n] << 16) + odd * std::bit_cast<float>(pairs[n] & 0xffff0000u);
      }
    }
  }
}

GRAFT_VECTORISED void add_scaled(const uint16_t* row, int64_t count, float factor, float* sums) {
  for (int64_t i = 0; i < count; ++i) sums[i] += factor * bfloat16_to_float(row[i]);
}

void multiply_blocks(const uint16_t* x, int64_t in, const uint16_t* weight, float* sums) {
  for (int64_t k = 0; k < in; k += kBlock) multiply_block(x + k, std::min(kBlock, in - k), weight + k * kBlock, sums);
}

std::vector<uint16_t> pack_factor_portable(const Factor& factor, int64_t rows, int64_t columns) {
  std::vector<uint16_t> values(static_cast<size_t>(rows * columns));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) values[static_cast<size_t>(row * columns + column)] = factor_value(factor, row, column);
  }
  std::vector<uint16_t> packed(static_cast<size_t>(packed_weight_size(rows, columns)));
  if (!packed.empty()) pack_weight_portable({values.data(), columns, 0, rows}, rows, columns, packed.data());
  return packed;
}

/// 32 outputs of one row.
void write_outputs(const PackedLinear& p, int64_t m, int64_t first, const float* sums) {
  uint16_t* y = p.y + m * p.y_stride + first;
  for (int64_t i = 0; i < std::min(kBlock, p.out - first); ++i) {
    float sum = sums[i];
    if (p.bias != nullptr) sum += p.bias[first + i];
    if (p.accumulate) sum += bfloat16_to_float(y[i]);
    y[i] = float_to_bfloat16(sum);
  }
}

/// One row times 32 outputs.
void multiply_row(const PackedLinear& p, int64_t m, int64_t block, const uint16_t* weight, const uint16_t* up) {
  std::array<float, kBlock> sums{};
  multiply_blocks(p.x + m * p.x_stride, p.in, weight, sums.data());
  if (p.rank > 0) multiply_blocks(p.down + m * p.down_stride, p.rank, up + block * blocks_for(p.rank) * kBlockSize, sums.data());
  write_outputs(p, m, block * kBlock, sums.data());
}

/// The blocks of 32 outputs of a weight that does not lie in packed order, one after the other.
void multiply_panels(const PackedLinear& p) {
  const auto up = pack_factor_portable(p.up, p.rank > 0 ? p.out : 0, p.rank);
  const int64_t blocks = blocks_for(p.out);
#pragma omp parallel for schedule(static) if (p.rows * p.out * (p.in + p.rank) >= kWorthwhile)
  for (int64_t block = 0; block < blocks; ++block) {
    std::vector<uint16_t> panel(static_cast<size_t>(blocks_for(p.in) * kBlockSize));
    make_panel_reference(p, block, panel.data());
    for (int64_t m = 0; m < p.rows; ++m) multiply_row(p, m, block, panel.data(), up.data());
  }
}

}  // namespace

// Packing moves values only, so the plain version serves.
void pack_weight_portable(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed) {
  pack_weight_reference(rows, out, in, packed);
}
void pack_weight_transposed_portable(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed) {
  pack_weight_transposed_reference(rows, out, in, packed);
}

void packed_linear_portable(const PackedLinear& p) {
  if (needs_panels(p)) return multiply_panels(p);
  const auto up = pack_factor_portable(p.up, p.rank > 0 ? p.out : 0, p.rank);
  const int64_t blocks = blocks_for(p.out);
#pragma omp parallel for schedule(static) collapse(2) if (p.rows * p.out * (p.in + p.rank) >= kWorthwhile)
  for (int64_t block = 0; block < blocks; ++block) {
    for (int64_t m = 0; m < p.rows; ++m) {
      multiply_row(p, m, block, p.weight + block * blocks_for(p.in) * kBlockSize, up.data());
    }
  }
}

void narrow_product_portable(const NarrowProduct& p) {
  const auto a = pack_factor_portable(p.a, p.rank, p.in);
  PackedLinear linear{.rows = p.rows, .in = p.in, .out = p.rank, .x = p.x, .x_stride = p.x_stride, .weight = a.data()};
  linear.y = p.down;
  linear.y_stride = p.down_stride;
  packed_linear_portable(linear);
}

void factor_gradient_portable(const FactorGradient& p) {
  constexpr int64_t kRun = 256;
  const int64_t runs = (p.columns + kRun - 1) / kRun;
#pragma omp parallel for schedule(static) collapse(2) if (p.rows * p.columns * p.rank >= kWorthwhile)
  for (int64_t run = 0; run < runs; ++run) {
    for (int64_t j = 0; j < p.rank; ++j) {
      const int64_t first = run * kRun, count = std::min(kRun, p.columns - first);
      std::array<float, kRun> sums{};
      for (int64_t m = 0; m < p.rows; ++m) {
        add_scaled(p.wide + m * p.wide_stride + first, count, bfloat16_to_float(p.narrow[m * p.narrow_stride + j]), sums.data());
      }
      for (int64_t i = 0; i < count; ++i) {
        float& out = p.out[p.transposed ? (first + i) * p.out_stride + j : j * p.out_stride + first + i];
        out = sums[static_cast<size_t>(i)] * p.scale + (p.accumulate ? out : 0.0f);
      }
    }
  }
}

}  // namespace graft::kernels::detail
