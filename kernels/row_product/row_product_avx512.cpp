#include "kernels/base/cpu_features.h"
#include "kernels/base/error.h"
#include "kernels/row_product/variants.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include "kernels/row_product/lanes_avx512.h"
#include "kernels/row_product/row_loops-inl.h"

namespace graft::kernels::detail {

bool row_product_avx512_supported() { return cpu_features().avx512 && cpu_features().f16c; }
void row_product_avx512(const RowProduct& product) { run_row_product(product); }

}  // namespace graft::kernels::detail

#else

namespace graft::kernels::detail {

bool row_product_avx512_supported() { return false; }
void row_product_avx512(const RowProduct&) { GRAFT_ASSERT(row_product_avx512_supported()); }

}  // namespace graft::kernels::detail

#endif
