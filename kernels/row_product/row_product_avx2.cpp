#include "kernels/base/cpu_features.h"
#include "kernels/base/error.h"
#include "kernels/row_product/variants.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include "kernels/row_product/lanes_avx2.h"
#include "kernels/row_product/row_loops-inl.h"

namespace graft::kernels::detail {

bool row_product_avx2_supported() { return cpu_features().avx2 && cpu_features().f16c; }
void row_product_avx2(const RowProduct& product) { run_row_product(product); }

}  // namespace graft::kernels::detail

#else

namespace graft::kernels::detail {

bool row_product_avx2_supported() { return false; }
void row_product_avx2(const RowProduct&) { GRAFT_ASSERT(row_product_avx2_supported()); }

}  // namespace graft::kernels::detail

#endif
