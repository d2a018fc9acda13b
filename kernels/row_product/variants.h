#pragma once

#include <span>
#include <string_view>

#include "kernels/row_product/row_product.h"

namespace graft::kernels::detail {

/// One way to compute a product; arguments were checked before and the result is not empty. Sums may differ in their last bits.
struct RowProductVariant {
  std::string_view name;
  bool (*supported)();
  void (*product)(const RowProduct& product);
};

/// Best first; the last runs everywhere.
std::span<const RowProductVariant> row_product_variants();

/// Defines the right answer; sums in double.
void row_product_reference(const RowProduct& product);

bool row_product_avx512_supported();
bool row_product_avx2_supported();
void row_product_avx512(const RowProduct& product);
void row_product_avx2(const RowProduct& product);
void row_product_portable(const RowProduct& product);

}  // namespace graft::kernels::detail
