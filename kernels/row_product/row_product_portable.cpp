#include "kernels/row_product/lanes_portable.h"
#include "kernels/row_product/row_loops-inl.h"
#include "kernels/row_product/variants.h"

namespace graft::kernels::detail {

void row_product_portable(const RowProduct& product) { run_row_product(product); }

}  // namespace graft::kernels::detail
