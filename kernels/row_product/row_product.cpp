#include "kernels/row_product/row_product.h"

#include <array>
#include <string>

#include "kernels/base/best_variant.h"
#include "kernels/base/error.h"
#include "kernels/row_product/variants.h"

namespace graft::kernels {
namespace {

constexpr bool always() { return true; }

constexpr std::array<detail::RowProductVariant, 3> kVariants = {{
    {"avx512", detail::row_product_avx512_supported, detail::row_product_avx512},
    {"avx2", detail::row_product_avx2_supported, detail::row_product_avx2},
    {"portable", always, detail::row_product_portable},
}};

const detail::RowProductVariant& best_variant() {
  static const auto& best = best_variant_of(kVariants);
  return best;
}

[[noreturn]] void refuse(const std::string& what) { throw InvalidArgument({.where = "product of a few rows", .what = what}); }

void check_rows(const char* name, const FewRows& rows, int64_t count, int64_t columns) {
  if (count == 0 || columns == 0) return;
  if (rows.fp32 == nullptr && rows.bf16 == nullptr) refuse(std::string(name) + " has no values");
  if (count > 1 && rows.stride < columns) {
    refuse(std::string(name) + " has rows of " + std::to_string(columns) + " values but a stride of " + std::to_string(rows.stride));
  }
}

void check_blocks(const RowWeight& weight, int64_t out, int64_t in) {
  const auto layout = block_layout(weight.type);
  const auto elements = static_cast<int64_t>(layout.elements);
  if (weight.blocks == nullptr && out * in > 0) refuse("the weight has no values");
  if (in % elements != 0) refuse("rows of " + std::to_string(in) + " weights are no whole blocks of " + std::string(layout.name));
  const int64_t bytes = in / elements * static_cast<int64_t>(layout.bytes);
  if (out > 1 && weight.row_bytes < bytes) {
    refuse("a row of the weight has " + std::to_string(bytes) + " bytes but a stride of " + std::to_string(weight.row_bytes));
  }
}

void check_weight(const RowWeight& weight, int64_t out, int64_t in) {
  if (weight.form == RowWeight::Form::kBlocks) return check_blocks(weight, out, in);
  if (weight.nf4 == nullptr || weight.nf4->count != out * in) refuse("the NF4 weight has another size");
}

}  // namespace

namespace detail {

std::span<const RowProductVariant> row_product_variants() { return kVariants; }

}  // namespace detail

void row_product(const RowProduct& p) {
  if (p.rows < 0 || p.rows > kMostFewRows) refuse(std::to_string(p.rows) + " rows are not 0 to " + std::to_string(kMostFewRows));
  if (p.in < 0 || p.out < 0 || p.rank < 0) refuse("a size is negative");
  check_rows("x", p.x, p.rows, p.in);
  check_rows("down", p.down, p.rows, p.rank);
  check_rows("y", {p.y_fp32, p.y_bf16, p.y_stride}, p.rows, p.out);
  if (p.rank > 0 && p.out > 0 && p.up == nullptr) refuse("the factor has no values");
  check_weight(p.weight, p.out, p.in);
  if (p.rows > 0 && p.out > 0) best_variant().product(p);
}

}  // namespace graft::kernels
