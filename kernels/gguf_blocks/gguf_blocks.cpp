#include "kernels/gguf_blocks/gguf_blocks.h"

#include <array>
#include <string>

#include "kernels/base/best_variant.h"
#include "kernels/base/error.h"
#include "kernels/gguf_blocks/variants.h"

namespace graft::kernels {
namespace {

struct TypeRow {
  GgmlType type;
  BlockLayout layout;
};

constexpr std::array<TypeRow, 11> kTypes = {{
    {GgmlType::kF32, {"F32", 1, 4}},
    {GgmlType::kF16, {"F16", 1, 2}},
    {GgmlType::kBF16, {"BF16", 1, 2}},
    {GgmlType::kQ8_0, {"Q8_0", 32, 34}},
    {GgmlType::kQ4_0, {"Q4_0", 32, 18}},
    {GgmlType::kQ4_1, {"Q4_1", 32, 20}},
    {GgmlType::kQ5_0, {"Q5_0", 32, 22}},
    {GgmlType::kQ5_1, {"Q5_1", 32, 24}},
    {GgmlType::kQ4_K, {"Q4_K", 256, 144}},
    {GgmlType::kQ5_K, {"Q5_K", 256, 176}},
    {GgmlType::kQ6_K, {"Q6_K", 256, 210}},
}};

constexpr bool always() { return true; }

constexpr std::array<DequantizeVariant, 4> kVariants = {{
    {"avx512", detail::avx512_supported, detail::dequantize_avx2, detail::dequantize_avx512},
    {"avx2", detail::avx2_supported, detail::dequantize_avx2, detail::dequantize_avx2},
    {"portable", always, detail::dequantize_portable, detail::dequantize_portable},
    {"reference", always, detail::dequantize_reference, detail::dequantize_reference},
}};

const DequantizeVariant& best_variant() {
  static const auto& best = best_variant_of(kVariants);
  return best;
}

size_t checked_block_count(GgmlType type, size_t bytes, size_t values) {
  const auto layout = block_layout(type);
  const size_t count = values / layout.elements;
  if (values % layout.elements != 0) {
    throw InvalidArgument({.where = std::string(layout.name), .what = "cannot expand a part of a block",
                           .expected = "a multiple of " + std::to_string(layout.elements) + " values", .got = std::to_string(values)});
  }
  // By division, since count * layout.bytes could overflow.
  if (bytes % layout.bytes != 0 || bytes / layout.bytes != count) {
    throw InvalidArgument({.where = std::string(layout.name), .what = "has a number of bytes that does not fit " + std::to_string(values) + " values",
                           .expected = std::to_string(count) + " blocks of " + std::to_string(layout.bytes), .got = std::to_string(bytes)});
  }
  return count;
}

}  // namespace

std::span<const DequantizeVariant> dequantize_variants() { return kVariants; }

BlockLayout block_layout(GgmlType type) {
  for (const auto& row : kTypes) {
    if (row.type == type) return row.layout;
  }
  std::string known;
  for (const auto& row : kTypes) known.append(known.empty() ? "" : " ").append(row.layout.name);
  throw InvalidArgument({.where = "GGUF type " + std::to_string(static_cast<uint32_t>(type)), .what = "is not one that can be read",
                         .expected = "one of " + known});
}

bool is_known_ggml_type(uint32_t number) {
  for (const auto& row : kTypes) {
    if (static_cast<uint32_t>(row.type) == number) return true;
  }
  return false;
}

void dequantize_blocks(GgmlType type, std::span<const std::byte> blocks, std::span<float> out) {
  const auto count = checked_block_count(type, blocks.size(), out.size());
  best_variant().to_float(type, reinterpret_cast<const uint8_t*>(blocks.data()), count, out.data());
}

void dequantize_blocks(GgmlType type, std::span<const std::byte> blocks, std::span<uint16_t> out_bf16) {
  const auto count = checked_block_count(type, blocks.size(), out_bf16.size());
  best_variant().to_bfloat16(type, reinterpret_cast<const uint8_t*>(blocks.data()), count, out_bf16.data());
}

}  // namespace graft::kernels
