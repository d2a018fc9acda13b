#include "kernels/gguf_blocks/block_loops.h"
#include "kernels/gguf_blocks/variants.h"

#define GRAFT_LOOPS_TARGET
#define GRAFT_LOOPS_NAME dequantize_portable
#include "kernels/gguf_blocks/dequantize_loops.inc"
