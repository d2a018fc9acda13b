#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "kernels/gguf_blocks/gguf_blocks.h"
#include "kernels/nf4/nf4.h"
#include "peft_core/slots/frozen_linear.h"

namespace graft::peft {

/// 4-bit NormalFloat with double quantisation, made from a dense weight (out, in) of fp32 or bf16. `original` gives that weight again, for
/// methods that start from it; it costs nothing until it is called.
std::shared_ptr<FrozenLinear> nf4_linear(const at::Tensor& weight, int64_t block_size = 64, std::function<at::Tensor()> original = {});
/// The same from codes and scales that are there already.
std::shared_ptr<FrozenLinear> nf4_linear(kernels::Nf4Weight stored, int64_t out_features, int64_t in_features);

/// GGUF blocks as they lie in the file; `keep_alive` owns the bytes.
/// Shapes   blocks: out rows of in / block elements blocks each.
std::shared_ptr<FrozenLinear> gguf_linear(kernels::GgmlType type, int64_t out_features, int64_t in_features,
                                          std::span<const std::byte> blocks, std::shared_ptr<const void> keep_alive);

}  // namespace graft::peft
