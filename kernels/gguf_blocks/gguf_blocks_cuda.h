#pragma once

#include <cstdint>

#include "kernels/gguf_blocks/gguf_blocks.h"

namespace graft::kernels {

/// Expands block_count blocks on a CUDA stream, without waiting for it; the bits of dequantize_blocks().
/// Shapes   blocks: block_count blocks in device memory, of any alignment; out: block_count · elements a block, device memory, fastest
///          where 16-byte aligned. stream: a cudaStream_t, null for the default one.
/// Throws   InvalidArgument for an unknown type or a negative count, Unavailable without CUDA kernels or if the launch fails.
void dequantize_blocks_cuda(GgmlType type, const void* blocks, int64_t block_count, float* out, void* stream);
void dequantize_blocks_cuda(GgmlType type, const void* blocks, int64_t block_count, uint16_t* out_bf16, void* stream);

}  // namespace graft::kernels
