#include "kernels/base/cpu_features.h"
#include "kernels/gguf_blocks/block_loops.h"
#include "kernels/gguf_blocks/variants.h"

#if defined(__x86_64__)
#define GRAFT_LOOPS_TARGET __attribute__((target("avx2")))
#else
#define GRAFT_LOOPS_TARGET
#endif
#define GRAFT_LOOPS_NAME dequantize_avx2
#include "kernels/gguf_blocks/dequantize_loops.inc"

namespace graft::kernels::detail {

bool avx2_supported() { return cpu_features().avx2; }

}  // namespace graft::kernels::detail
