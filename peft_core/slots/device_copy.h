#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>

#include "kernels/gguf_blocks/gguf_blocks.h"
#include "kernels/nf4/nf4.h"

// Private to this folder: quantised weights as they lie in a GPU's memory. The copy is made when it is first asked for, and stays.
namespace graft::peft {

class Nf4OnDevice {
 public:
  /// Expands weights [first, first + to.numel()) into `to`, contiguous, fp32 or bf16; `first` is a multiple of the block size.
  void expand(const kernels::Nf4Weight& weight, int64_t first, at::Tensor& to);

 private:
  at::Tensor codes_, absmax_, absmax_codes_, nested_code_, nested_absmax_;
};

class BlocksOnDevice {
 public:
  /// Expands the blocks in bytes [first, first + size) of `weight` into `to`, contiguous, fp32 or bf16.
  void expand(kernels::GgmlType type, std::span<const std::byte> weight, size_t first, size_t size, at::Tensor& to);

 private:
  at::Tensor bytes_;
};

}  // namespace graft::peft
