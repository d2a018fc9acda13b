#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/packed_linear/packed_linear.h"

namespace graft::kernels::detail {

/// One way to compute everything of packed_linear.h; arguments were checked before and the result is not empty, but a sum may have no terms.
/// All share one order of packed memory; sums may differ in their last bits.
struct PackedLinearVariant {
  std::string_view name;
  bool (*supported)();
  void (*pack)(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed);
  void (*pack_transposed)(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed);
  void (*linear)(const PackedLinear& product);
  void (*narrow)(const NarrowProduct& product);
  void (*gradient)(const FactorGradient& product);
};

/// Best first; the last runs everywhere.
std::span<const PackedLinearVariant> packed_linear_variants();

/// The plain versions that define the right answer; sums in double.
void pack_weight_reference(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed);
void pack_weight_transposed_reference(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed);
/// The weight of 32 outputs in packed order, if it does not lie so: `block` of a product with a stored or turned weight.
bool needs_panels(const PackedLinear& product);
void make_panel_reference(const PackedLinear& product, int64_t block, uint16_t* packed);
void packed_linear_reference(const PackedLinear& product);
void narrow_product_reference(const NarrowProduct& product);
void factor_gradient_reference(const FactorGradient& product);

void pack_weight_portable(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed);
void pack_weight_transposed_portable(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed);
void packed_linear_portable(const PackedLinear& product);
void narrow_product_portable(const NarrowProduct& product);
void factor_gradient_portable(const FactorGradient& product);

void pack_weight_tiles(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed);
void pack_weight_transposed_tiles(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed);
void packed_linear_amx(const PackedLinear& product);
void narrow_product_amx(const NarrowProduct& product);
void factor_gradient_amx(const FactorGradient& product);

void packed_linear_avx512_bf16(const PackedLinear& product);
void narrow_product_avx512_bf16(const NarrowProduct& product);
void factor_gradient_avx512_bf16(const FactorGradient& product);

void pack_weight_avx2(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed);
void pack_weight_transposed_avx2(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed);
void packed_linear_avx2(const PackedLinear& product);
void narrow_product_avx2(const NarrowProduct& product);
void factor_gradient_avx2(const FactorGradient& product);

}  // namespace graft::kernels::detail
