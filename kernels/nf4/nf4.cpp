#include "kernels/nf4/nf4.h"

#include <array>
#include <string>

#include "kernels/base/error.h"
#include "kernels/nf4/variants.h"

namespace graft::kernels {
namespace {

/// Throws unless [first, first + size) lies in the weight and begins with a block.
void check_range(const Nf4Weight& weight, int64_t first, size_t size) {
  detail::check_nf4_block_size(weight.block_size);
  if (weight.nested_block_size < 1) throw InvalidArgument({.where = "NF4 nested block size", .what = "must be at least 1"});
  const bool inside = first >= 0 && first <= weight.count && size <= static_cast<size_t>(weight.count - first);
  if (!inside || first % weight.block_size != 0) {
    throw InvalidArgument({.where = "NF4", .what = "cannot expand " + std::to_string(size) + " weights from " + std::to_string(first),
                           .expected = "a start at a multiple of " + std::to_string(weight.block_size) + " and an end by " +
                                       std::to_string(weight.count)});
  }
  const auto blocks = static_cast<size_t>((weight.count + weight.block_size - 1) / weight.block_size);
  const auto nested = (static_cast<int64_t>(blocks) + weight.nested_block_size - 1) / weight.nested_block_size;
  const bool scales_fit = weight.double_quantised() ? weight.absmax_codes.size() == blocks && weight.nested_code.size() == 256 &&
                                                          weight.nested_absmax.size() == static_cast<size_t>(nested)
                                                    : weight.absmax.size() == blocks;
  if (!scales_fit || weight.codes.size() != static_cast<size_t>((weight.count + 1) / 2)) {
    throw InvalidArgument({.where = "NF4", .what = "has codes or scales that do not fit " + std::to_string(weight.count) + " weights"});
  }
}

constexpr bool always() { return true; }

constexpr std::array<detail::Nf4Variant, 2> kVariants = {{
    {"avx2", detail::nf4_avx2_supported, detail::dequantize_nf4_avx2, detail::dequantize_nf4_avx2},
    {"portable", always, detail::dequantize_nf4_portable, detail::dequantize_nf4_portable},
}};

const detail::Nf4Variant& best_variant() {
  static const detail::Nf4Variant& best = kVariants[0].supported() ? kVariants[0] : kVariants[1];
  return best;
}

}  // namespace

double Nf4Weight::bits_per_weight() const {
  if (count == 0) return 0.0;
  const double bytes = static_cast<double>(codes.size()) + 4.0 * static_cast<double>(absmax.size() + nested_absmax.size()) +
                       static_cast<double>(absmax_codes.size());
  return 8.0 * bytes / static_cast<double>(count);
}

namespace detail {

std::span<const Nf4Variant> nf4_variants() { return kVariants; }

float block_scale(const Nf4Weight& weight, int64_t block) {
  const auto b = static_cast<size_t>(block);
  if (!weight.double_quantised()) return weight.absmax[b];
  return weight.nested_code[weight.absmax_codes[b]] * weight.nested_absmax[static_cast<size_t>(block / weight.nested_block_size)] +
         weight.nested_offset;
}

}  // namespace detail

void dequantize_nf4_reference(const Nf4Weight& weight, int64_t first, std::span<float> out) {
  check_range(weight, first, out.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const auto place = static_cast<size_t>(first) + i;
    const auto byte = weight.codes[place / 2];
    const auto code = place % 2 == 0 ? byte >> 4 : byte & 15;
    out[i] = nf4_table()[static_cast<size_t>(code)] * detail::block_scale(weight, static_cast<int64_t>(place) / weight.block_size);
  }
}

void dequantize_nf4(const Nf4Weight& weight, int64_t first, std::span<float> out) {
  check_range(weight, first, out.size());
  best_variant().to_float(weight, first, out);
}

void dequantize_nf4(const Nf4Weight& weight, int64_t first, std::span<uint16_t> out_bf16) {
  check_range(weight, first, out_bf16.size());
  best_variant().to_bfloat16(weight, first, out_bf16);
}

}  // namespace graft::kernels
