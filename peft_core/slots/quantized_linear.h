#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "kernels/gguf_blocks/gguf_blocks.h"
#include "peft_core/slots/frozen_linear.h"

namespace graft::peft {

/// 4-bit NormalFloat with double quantisation, made from a dense weight (out, in) of fp32 or bf16.
std::shared_ptr<FrozenLinear> nf4_linear(const at::Tensor& weight, int64_t block_size = 64);

/// GGUF blocks as they lie in the file; `keep_alive` owns the bytes.
/// Shapes   blocks: out rows of in / block elements blocks each.
std::shared_ptr<FrozenLinear> gguf_linear(kernels::GgmlType type, int64_t out_features, int64_t in_features,
                                          std::span<const std::byte> blocks, std::shared_ptr<const void> keep_alive);

}  // namespace graft::peft
