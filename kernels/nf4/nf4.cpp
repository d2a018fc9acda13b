#include "kernels/nf4/nf4.h"

#include <algorithm>
#include <array>
#include <string>

#include "kernels/base/best_variant.h"
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

constexpr std::array<detail::Nf4Variant, 3> kVariants = {{
    {"avx512", detail::nf4_avx512_supported, detail::dequantize_nf4_avx2, detail::dequantize_nf4_avx512},
    {"avx2", detail::nf4_avx2_supported, detail::dequantize_nf4_avx2, detail::dequantize_nf4_avx2},
    {"portable", always, detail::dequantize_nf4_portable, detail::dequantize_nf4_portable},
}};

const detail::Nf4Variant& best_variant() {
  static const auto& best = best_variant_of(kVariants);
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

void block_scales(const Nf4Weight& weight, int64_t first, int64_t count, float* out) {
  if (!weight.double_quantised()) {
    std::copy_n(weight.absmax.begin() + first, count, out);
    return;
  }
  const uint8_t* codes = weight.absmax_codes.data() + first;
  for (int64_t done = 0; done < count;) {
    const int64_t group = (first + done) / weight.nested_block_size;
    const int64_t end = std::min(count, (group + 1) * weight.nested_block_size - first);
    const float absmax = weight.nested_absmax[static_cast<size_t>(group)];
    for (; done < end; ++done) out[done] = weight.nested_code[codes[done]] * absmax + weight.nested_offset;
  }
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

void dequantize_nf4_part(const Nf4Weight& weight, const Nf4Part& part, uint16_t* to, int64_t stride) {
  const int64_t last = part.rows > 0 ? (part.row + part.rows - 1) * part.row_length + part.column + part.columns : 0;
  const bool inside = part.row >= 0 && part.rows >= 0 && part.column >= 0 && part.columns >= 0 && part.column + part.columns <= part.row_length;
  if (!inside || last > weight.count) {
    throw InvalidArgument({.where = "NF4", .what = "a part does not lie in the weight", .expected = "an end by " + std::to_string(weight.count)});
  }
  check_range(weight, 0, static_cast<size_t>(last));
  for (int64_t row = 0; row < part.rows; ++row) {
    const int64_t first = (part.row + row) * part.row_length + part.column, within = first % weight.block_size;
    uint16_t* out = to + row * stride;
    int64_t done = 0;
    if (within != 0) {
      // Begins inside a block: that block is expanded up to where the row ends.
      uint16_t block[detail::kLargestNf4Block];
      const int64_t end = std::min(weight.block_size, within + part.columns);
      best_variant().to_bfloat16(weight, first - within, {block, static_cast<size_t>(end)});
      done = end - within;
      std::copy_n(block + within, done, out);
    }
    if (done < part.columns) best_variant().to_bfloat16(weight, first + done, {out + done, static_cast<size_t>(part.columns - done)});
  }
}

}  // namespace graft::kernels
