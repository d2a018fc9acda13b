#include "kernels/ops/products.h"

#include <algorithm>

#include "kernels/ops/dense_products.h"
#include "kernels/tiles/tiles.h"

namespace graft::ops {
namespace {

/// Results that no second cache holds until they are read are written past the caches: 4 to 8 % of a training step of SmolLM2.
constexpr int64_t kStreamedBytes = 2 << 20;

const uint16_t* bits(const at::Tensor& t) { return reinterpret_cast<const uint16_t*>(t.const_data_ptr<at::BFloat16>()); }
uint16_t* mutable_bits(at::Tensor& t) { return reinterpret_cast<uint16_t*>(t.mutable_data_ptr<at::BFloat16>()); }

/// Rows of neighbouring values, as the kernels read them.
at::Tensor with_plain_rows(const at::Tensor& x) { return x.stride(1) == 1 || x.size(1) <= 1 ? x : x.contiguous(); }

int64_t row_stride(const at::Tensor& x) { return std::max(x.stride(0), x.size(1)); }

kernels::Factor factor(const at::Tensor& f, double scale) {
  return {.fp32 = f.const_data_ptr<float>(), .row_stride = f.stride(0), .column_stride = f.stride(1), .scale = static_cast<float>(scale)};
}

at::Tensor gradient_on_tiles(const at::Tensor& narrow, const at::Tensor& wide, double scale, bool transposed) {
  const auto columns_of = with_plain_rows(wide);
  const int64_t rank = narrow.size(1), columns = wide.size(1);
  auto out = at::empty(transposed ? at::IntArrayRef{columns, rank} : at::IntArrayRef{rank, columns}, wide.options().dtype(at::kFloat));
  kernels::factor_gradient({.rows = wide.size(0), .rank = rank, .columns = columns, .narrow = bits(narrow), .narrow_stride = row_stride(narrow),
                            .wide = bits(columns_of), .wide_stride = row_stride(columns_of), .scale = static_cast<float>(scale),
                            .transposed = transposed, .out = out.mutable_data_ptr<float>(), .out_stride = out.size(1)});
  return out;
}

/// `product` brings the weight.
at::Tensor on_tiles(const at::Tensor& x, kernels::PackedLinear& product, int64_t columns, const ProductTerms& terms) {
  const auto rows = with_plain_rows(x);
  auto y = at::empty({x.size(0), columns}, x.options());
  product.rows = x.size(0), product.in = x.size(1), product.out = columns;
  product.x = bits(rows), product.x_stride = row_stride(rows);
  product.y = mutable_bits(y), product.y_stride = columns;
  product.stream_y = static_cast<int64_t>(y.nbytes()) > kStreamedBytes;
  const auto bias = terms.bias.defined() ? terms.bias.to(at::kFloat).contiguous() : terms.bias;
  if (bias.defined()) product.bias = bias.const_data_ptr<float>();
  if (terms.down.defined()) {
    product.rank = terms.down.size(1);
    product.down = bits(terms.down);
    product.down_stride = row_stride(terms.down);
    product.up = factor(terms.up, terms.scale);
  }
  kernels::packed_linear(product);
  return y;
}

kernels::FewRows few_rows(const at::Tensor& x) {
  if (x.scalar_type() == at::kFloat) return {.fp32 = x.const_data_ptr<float>(), .stride = row_stride(x)};
  return {.bf16 = bits(x), .stride = row_stride(x)};
}

}  // namespace

bool runs_on_tiles(at::ScalarType dtype) { return dtype == at::kBFloat16 && kernels::tiles_pay(); }

void add_terms(at::Tensor& y, const ProductTerms& terms) {
  if (terms.bias.defined()) y.add_(terms.bias);
  if (terms.down.defined()) ops::addmm_(y, terms.down, terms.up.to(y.scalar_type()).t(), terms.scale);
}

int64_t packed_size(int64_t out, int64_t in, Side side) {
  return side == Side::kForward ? kernels::packed_weight_size(out, in) : kernels::packed_weight_size(in, out);
}

void pack_rows(const at::Tensor& rows, int64_t first, int64_t out, Side side, at::Tensor& packed) {
  const auto pack = side == Side::kForward ? kernels::pack_weight : kernels::pack_weight_transposed;
  pack({.values = bits(rows), .stride = row_stride(rows), .first = first, .count = rows.size(0)}, out, rows.size(1), mutable_bits(packed));
}

at::Tensor packed_product(const at::Tensor& x, const at::Tensor& packed, int64_t columns, const ProductTerms& terms) {
  kernels::PackedLinear product;
  product.weight = bits(packed);
  return on_tiles(x, product, columns, terms);
}

at::Tensor packed_product_back(const at::Tensor& g, const at::Tensor& packed_forward, int64_t in, const ProductTerms& terms) {
  kernels::PackedLinear product;
  product.weight = bits(packed_forward);
  product.turned = true;
  return on_tiles(g, product, in, terms);
}

bool second_packing_pays(int64_t rows) {
  // Two cores turn some 40 G weights/s and multiply 1.6 T/s: from here on it is under a tenth of the product, a hundredth of a step.
  constexpr int64_t kManyRows = 512;
  return rows < kManyRows && kernels::amx_tiles_supported();
}

at::Tensor stored_product(const at::Tensor& x, const kernels::StoredWeight& weight, int64_t columns, const ProductTerms& terms) {
  kernels::PackedLinear product;
  product.stored = weight;
  return on_tiles(x, product, columns, terms);
}

bool is_few_rows(const at::Tensor& x) { return x.is_cpu() && x.size(0) <= kernels::kMostFewRows; }

at::Tensor few_rows_product(const at::Tensor& x, const kernels::RowWeight& weight, int64_t out, const ProductTerms& terms) {
  const auto rows = with_plain_rows(x);
  auto y = at::empty({x.size(0), out}, x.options());
  kernels::RowProduct product{.rows = x.size(0), .in = x.size(1), .out = out, .x = few_rows(rows), .weight = weight, .down = {}, .y_stride = out};
  const auto bias = terms.bias.defined() ? terms.bias.to(at::kFloat).contiguous() : terms.bias;
  if (bias.defined()) product.bias = bias.const_data_ptr<float>();
  if (terms.down.defined()) {
    product.rank = terms.down.size(1);
    product.down = few_rows(terms.down);
    product.up = terms.up.const_data_ptr<float>();
    product.up_row_stride = terms.up.stride(0), product.up_column_stride = terms.up.stride(1);
    product.up_scale = static_cast<float>(terms.scale);
  }
  if (x.scalar_type() == at::kFloat) {
    product.y_fp32 = y.mutable_data_ptr<float>();
  } else {
    product.y_bf16 = mutable_bits(y);
  }
  kernels::row_product(product);
  return y;
}

at::Tensor narrow_product(const at::Tensor& x, const at::Tensor& a, double scale) {
  if (!runs_on_tiles(x)) {
    auto down = ops::mm(x, a.to(x.scalar_type()).t());
    return scale == 1.0 ? down : down.mul_(scale);
  }
  const auto rows = with_plain_rows(x);
  auto down = at::empty({x.size(0), a.size(0)}, x.options());
  kernels::narrow_product({.rows = x.size(0), .in = x.size(1), .rank = a.size(0), .x = bits(rows), .x_stride = row_stride(rows),
                           .a = factor(a, scale), .down = mutable_bits(down), .down_stride = a.size(0)});
  return down;
}

at::Tensor factor_gradient(const at::Tensor& narrow, const at::Tensor& wide, double scale) {
  if (runs_on_tiles(wide)) return gradient_on_tiles(narrow, wide, scale, /*transposed=*/false);
  return ops::mm(narrow.t(), wide).to(at::kFloat).mul_(scale);
}

at::Tensor factor_gradient_transposed(const at::Tensor& narrow, const at::Tensor& wide, double scale) {
  if (runs_on_tiles(wide)) return gradient_on_tiles(narrow, wide, scale, /*transposed=*/true);
  return ops::mm(wide.t(), narrow).to(at::kFloat).mul_(scale);
}

}  // namespace graft::ops
