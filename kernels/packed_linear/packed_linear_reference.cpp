#include <algorithm>
#include <vector>

#include "kernels/base/bfloat16.h"
#include "kernels/packed_linear/factor.h"
#include "kernels/packed_linear/layout.h"
#include "kernels/packed_linear/variants.h"

namespace graft::kernels::detail {
namespace {

/// Where weight (n, k) of a packed (out, in) weight lies.
int64_t packed_place(int64_t n, int64_t k, int64_t in) {
  const int64_t block = (n / kBlock) * blocks_for(in) + k / kBlock;
  const int64_t tile = (n % kBlock) / 16, pair = (k % kBlock) / 2;
  return block * kBlockSize + tile * kTileSize + pair * 32 + (n % 16) * 2 + k % 2;
}

void turn_panel(const PackedLinear& p, int64_t block, uint16_t* packed) {
  for (int64_t n = 0; n < kBlock; ++n)
    for (int64_t k = 0; k < blocks_for(p.in) * kBlock; ++k)
      packed[packed_place(n, k, p.in)] = p.weight[packed_place(k, block * kBlock + n, p.out)];
}

void expand_panel(const StoredWeight& stored, int64_t in, int64_t out, int64_t block, uint16_t* packed) {
  if (in == 0) return;
  const int64_t first = block * kBlock, count = std::min(kBlock, out - first);
  const int64_t whole = stored.transposed ? out : in;  // columns of the weight
  const int64_t begin = stored.transposed ? first / stored.column_unit * stored.column_unit : 0;
  const int64_t end = stored.transposed ? std::min((first + count + stored.column_unit - 1) / stored.column_unit * stored.column_unit, whole) : whole;
  std::fill_n(packed, blocks_for(in) * kBlockSize, uint16_t{0});
  std::vector<uint16_t> line(static_cast<size_t>(end - begin));
  const int64_t lines = stored.transposed ? in : count;
  for (int64_t i = 0; i < lines; ++i) {
    stored.expand(stored.weight, {stored.transposed ? i : first + i, 1, begin, end - begin}, line.data(), end - begin);
    for (int64_t j = 0; j < (stored.transposed ? count : in); ++j) {
      const uint16_t value = line[static_cast<size_t>(stored.transposed ? first + j - begin : j)];
      packed[stored.transposed ? packed_place(j, i, in) : packed_place(i, j, in)] = value;
    }
  }
}

}  // namespace

void pack_weight_reference(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed) {
  const int64_t padded_count = blocks_for(rows.count) * kBlock, padded_in = blocks_for(in) * kBlock;
  for (int64_t row = 0; row < padded_count; ++row) {
    for (int64_t k = 0; k < padded_in; ++k) {
      const int64_t n = rows.first + row;
      packed[packed_place(n, k, in)] = n < out && k < in ? rows.values[row * rows.stride + k] : uint16_t{0};
    }
  }
}

void pack_weight_transposed_reference(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed) {
  const int64_t padded_count = blocks_for(rows.count) * kBlock, padded_in = blocks_for(in) * kBlock;
  for (int64_t row = 0; row < padded_count; ++row) {
    for (int64_t k = 0; k < padded_in; ++k) {
      const int64_t n = rows.first + row;
      packed[packed_place(k, n, out)] = n < out && k < in ? rows.values[row * rows.stride + k] : uint16_t{0};
    }
  }
}

bool needs_panels(const PackedLinear& p) { return p.weight == nullptr || p.turned; }

void make_panel_reference(const PackedLinear& p, int64_t block, uint16_t* packed) {
  if (p.weight != nullptr) {
    turn_panel(p, block, packed);
  } else {
    expand_panel(p.stored, p.in, p.out, block, packed);
  }
}

void packed_linear_reference(const PackedLinear& product) {
  PackedLinear p = product;
  std::vector<uint16_t> panels;
  if (needs_panels(p)) {
    panels.resize(static_cast<size_t>(packed_weight_size(p.out, p.in)));
    for (int64_t block = 0; block < blocks_for(p.out); ++block) {
      make_panel_reference(product, block, panels.data() + block * blocks_for(p.in) * kBlockSize);
    }
    p.weight = panels.data();
  }
  for (int64_t m = 0; m < p.rows; ++m) {
    for (int64_t n = 0; n < p.out; ++n) {
      double sum = p.bias != nullptr ? static_cast<double>(p.bias[n]) : 0.0;
      for (int64_t k = 0; k < p.in; ++k) {
        sum += static_cast<double>(bfloat16_to_float(p.x[m * p.x_stride + k])) * bfloat16_to_float(p.weight[packed_place(n, k, p.in)]);
      }
      for (int64_t j = 0; j < p.rank; ++j) {
        sum += static_cast<double>(bfloat16_to_float(p.down[m * p.down_stride + j])) * bfloat16_to_float(factor_value(p.up, n, j));
      }
      uint16_t& y = p.y[m * p.y_stride + n];
      if (p.accumulate) sum += static_cast<double>(bfloat16_to_float(y));
      y = float_to_bfloat16(static_cast<float>(sum));
    }
  }
}

void narrow_product_reference(const NarrowProduct& p) {
  for (int64_t m = 0; m < p.rows; ++m) {
    for (int64_t j = 0; j < p.rank; ++j) {
      double sum = 0.0;
      for (int64_t k = 0; k < p.in; ++k) {
        sum += static_cast<double>(bfloat16_to_float(p.x[m * p.x_stride + k])) * bfloat16_to_float(factor_value(p.a, j, k));
      }
      p.down[m * p.down_stride + j] = float_to_bfloat16(static_cast<float>(sum));
    }
  }
}

void factor_gradient_reference(const FactorGradient& p) {
  for (int64_t j = 0; j < p.rank; ++j) {
    for (int64_t c = 0; c < p.columns; ++c) {
      double sum = 0.0;
      for (int64_t m = 0; m < p.rows; ++m) {
        sum += static_cast<double>(bfloat16_to_float(p.narrow[m * p.narrow_stride + j])) * bfloat16_to_float(p.wide[m * p.wide_stride + c]);
      }
      float& out = p.out[p.transposed ? c * p.out_stride + j : j * p.out_stride + c];
      out = static_cast<float>(sum * static_cast<double>(p.scale) + (p.accumulate ? static_cast<double>(out) : 0.0));
    }
  }
}

}  // namespace graft::kernels::detail
