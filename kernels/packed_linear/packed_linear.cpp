#include "kernels/packed_linear/packed_linear.h"

#include <array>
#include <string>

#include "kernels/base/best_variant.h"
#include "kernels/base/error.h"
#include "kernels/packed_linear/layout.h"
#include "kernels/packed_linear/variants.h"
#include "kernels/tiles/tiles.h"

namespace graft::kernels {
namespace {

constexpr bool always() { return true; }

constexpr std::array<detail::PackedLinearVariant, 4> kVariants = {{
    {"amx", amx_tiles_supported, detail::pack_weight_tiles, detail::pack_weight_transposed_tiles, detail::packed_linear_amx,
     detail::narrow_product_amx, detail::factor_gradient_amx},
    {"avx512_bf16", dot_tiles_supported, detail::pack_weight_tiles, detail::pack_weight_transposed_tiles, detail::packed_linear_avx512_bf16,
     detail::narrow_product_avx512_bf16, detail::factor_gradient_avx512_bf16},
    {"avx2", fma_tiles_supported, detail::pack_weight_avx2, detail::pack_weight_transposed_avx2, detail::packed_linear_avx2,
     detail::narrow_product_avx2, detail::factor_gradient_avx2},
    {"portable", always, detail::pack_weight_portable, detail::pack_weight_transposed_portable, detail::packed_linear_portable,
     detail::narrow_product_portable, detail::factor_gradient_portable},
}};

const detail::PackedLinearVariant& best_variant() {
  static const auto& best = best_variant_of(kVariants);
  return best;
}

[[noreturn]] void refuse(const char* where, const std::string& what) { throw InvalidArgument({.where = where, .what = what}); }

/// A matrix of a row or less may have any stride.
void check_matrix(const char* where, const char* name, int64_t rows, int64_t columns, int64_t stride) {
  if (rows < 0 || columns < 0) refuse(where, std::string(name) + " has a negative size");
  if (rows > 1 && stride < columns) {
    refuse(where, std::string(name) + " has rows of " + std::to_string(columns) + " values but a stride of " + std::to_string(stride));
  }
}

void check_factor(const char* where, const Factor& factor, int64_t rows, int64_t columns) {
  if (rows == 0 || columns == 0) return;
  if (factor.fp32 == nullptr && factor.bf16 == nullptr) refuse(where, "a factor has no values");
  const bool straight = factor.column_stride == 1 && (factor.row_stride >= columns || rows == 1);
  const bool transposed = factor.row_stride == 1 && (factor.column_stride >= rows || columns == 1);
  if (!straight && !transposed) refuse(where, "one stride of a factor must be 1 and the other at least as long as a row");
}

void check_rank(const char* where, int64_t rank) {
  if (rank < 0 || rank > detail::kLargestRank) refuse(where, "rank " + std::to_string(rank) + " is not in 0..1024");
}

void check_rows(const WeightRows& rows, int64_t out, int64_t in) {
  constexpr const char* kWhere = "packing a weight";
  check_matrix(kWhere, "the weight", rows.count, in, rows.stride);
  const bool inside = rows.first >= 0 && rows.first <= out && rows.count <= out - rows.first;
  const bool ends_well = rows.count % detail::kBlock == 0 || rows.first + rows.count == out;
  if (!inside || rows.first % detail::kBlock != 0 || !ends_well) {
    throw InvalidArgument({.where = kWhere,
                           .what = "rows from " + std::to_string(rows.first) + ", " + std::to_string(rows.count) + " of them",
                           .expected = "multiples of 32, or an end at " + std::to_string(out)});
  }
}

void check_weight(const char* where, const PackedLinear& p) {
  if (p.weight != nullptr || p.in == 0) return;
  if (p.turned) refuse(where, "a turned weight is not there");
  if (p.stored.expand == nullptr) refuse(where, "the weight is neither packed nor stored");
  if (p.stored.column_unit < detail::kBlock || p.stored.column_unit % detail::kBlock != 0) {
    refuse(where, "a stored weight's unit of " + std::to_string(p.stored.column_unit) + " columns is no multiple of 32");
  }
}

}  // namespace

namespace detail {

std::span<const PackedLinearVariant> packed_linear_variants() { return kVariants; }

}  // namespace detail

int64_t packed_weight_size(int64_t out, int64_t in) { return detail::blocks_for(out) * detail::blocks_for(in) * detail::kBlockSize; }

void pack_weight(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed) {
  check_rows(rows, out, in);
  if (rows.count > 0 && in > 0) best_variant().pack(rows, out, in, packed);
}

void pack_weight_transposed(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed) {
  check_rows(rows, out, in);
  if (rows.count > 0 && in > 0) best_variant().pack_transposed(rows, out, in, packed);
}

void packed_linear(const PackedLinear& p) {
  constexpr const char* kWhere = "packed linear";
  check_matrix(kWhere, "x", p.rows, p.in, p.x_stride);
  check_matrix(kWhere, "y", p.rows, p.out, p.y_stride);
  check_rank(kWhere, p.rank);
  check_matrix(kWhere, "down", p.rows, p.rank, p.down_stride);
  check_factor(kWhere, p.up, p.out, p.rank);
  if (p.rows == 0 || p.out == 0) return;
  check_weight(kWhere, p);
  best_variant().linear(p);
}

void narrow_product(const NarrowProduct& p) {
  constexpr const char* kWhere = "narrow product";
  check_rank(kWhere, p.rank);
  check_matrix(kWhere, "x", p.rows, p.in, p.x_stride);
  check_matrix(kWhere, "down", p.rows, p.rank, p.down_stride);
  check_factor(kWhere, p.a, p.rank, p.in);
  if (p.rows > 0 && p.rank > 0) best_variant().narrow(p);
}

void factor_gradient(const FactorGradient& p) {
  constexpr const char* kWhere = "gradient of a factor";
  check_rank(kWhere, p.rank);
  check_matrix(kWhere, "the narrow matrix", p.rows, p.rank, p.narrow_stride);
  check_matrix(kWhere, "the wide matrix", p.rows, p.columns, p.wide_stride);
  if (p.transposed) {
    check_matrix(kWhere, "the gradient", p.columns, p.rank, p.out_stride);
  } else {
    check_matrix(kWhere, "the gradient", p.rank, p.columns, p.out_stride);
  }
  if (p.rank > 0 && p.columns > 0) best_variant().gradient(p);
}

}  // namespace graft::kernels
