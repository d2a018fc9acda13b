#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "kernels/packed_linear/packed_linear.h"
#include "kernels/row_product/row_product.h"

namespace graft::ops {

// The products of a frozen weight and of an adapter's thin factors, without autograd. bf16 runs on tiles where they pay
// (kernels/packed_linear); everything else is LibTorch's.

/// Which product of a frozen weight W (out, in): x Wᵀ or g W.
enum class Side { kForward, kBackward };

/// True where products of x with packed weights run on tiles (kernels/tiles).
bool runs_on_tiles(at::ScalarType dtype);
inline bool runs_on_tiles(const at::Tensor& x) { return x.is_cpu() && runs_on_tiles(x.scalar_type()); }

/// What a product gets added before it is rounded: bias (columns), and scale · down upᵀ. Undefined tensors add nothing.
struct ProductTerms {
  at::Tensor bias;    ///< fp32
  at::Tensor down;    ///< (N, r) in the product's dtype
  at::Tensor up;      ///< (columns, r) fp32, any strides
  double scale = 1.0;
};

/// y (N, columns) += the terms.
void add_terms(at::Tensor& y, const ProductTerms& terms);

/// Values of one side of a weight (out, in) in the order of the tiles.
int64_t packed_size(int64_t out, int64_t in, Side side);
/// Packs `rows` (count, in), bf16, the weight's rows from `first` (a multiple of 32; so is count unless they end the weight), into
/// `packed` (packed_size), bf16.
void pack_rows(const at::Tensor& rows, int64_t first, int64_t out, Side side, at::Tensor& packed);
/// x (N, in) Wᵀ or g (N, out) W, with the terms, for a weight that was packed for this side. `columns` of the result.
at::Tensor packed_product(const at::Tensor& x, const at::Tensor& packed, int64_t columns, const ProductTerms& terms);

/// g (N, out) W, with the terms, from the copy that was packed for the other side, turned a panel at a time. The same bits.
at::Tensor packed_product_back(const at::Tensor& g, const at::Tensor& packed_forward, int64_t in, const ProductTerms& terms);
/// True where a second packed copy makes products with `rows` rows noticeably quicker than turning the first: few rows, on AMX. Turning
/// costs the same for any number of rows, and dot products take a dozen times as long as AMX.
bool second_packing_pays(int64_t rows);

/// The same for a weight that is stored in another form; it is expanded a panel at a time while it is multiplied with.
at::Tensor stored_product(const at::Tensor& x, const kernels::StoredWeight& weight, int64_t columns, const ProductTerms& terms);

/// True for so few rows in the processor's memory that a product takes as long as reading the weight does.
bool is_few_rows(const at::Tensor& x);
/// x (N, in) Wᵀ with the terms, for few rows, from the weight as it is stored; x fp32 or bf16, sums fp32.
at::Tensor few_rows_product(const at::Tensor& x, const kernels::RowWeight& weight, int64_t out, const ProductTerms& terms);

/// x (N, in) aᵀ · scale -> (N, r), for a (r, in) fp32 of any strides.
at::Tensor narrow_product(const at::Tensor& x, const at::Tensor& a, double scale = 1.0);

/// narrowᵀ wide · scale -> (r, columns) fp32: the gradient of a factor, from narrow (N, r) and wide (N, columns).
at::Tensor factor_gradient(const at::Tensor& narrow, const at::Tensor& wide, double scale = 1.0);
/// The same transposed, (columns, r).
at::Tensor factor_gradient_transposed(const at::Tensor& narrow, const at::Tensor& wide, double scale = 1.0);

}  // namespace graft::ops
