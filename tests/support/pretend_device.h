#pragma once

#include <ATen/core/Tensor.h>

// A GPU for machines without one. To LibTorch it is a device of its own (its type is PrivateUse1), whose operators are those of the processor;
// our CUDA kernels run their own programs on the processor too, in place of what nvcc or the stubs made of them. Its memory can be touched only
// while one of them runs: whatever else reads or writes there is stopped by the operating system, as it would be with a GPU.
namespace graft::testing {

at::Device pretend_device();

/// Opens the device's memory to the processor while it lives.
class OpenMemory {
 public:
  OpenMemory();
  ~OpenMemory();
  OpenMemory(const OpenMemory&) = delete;
  OpenMemory& operator=(const OpenMemory&) = delete;
};

/// What LibTorch's stream of the device is to a CUDA kernel.
void* pretend_stream();

/// How often a CUDA kernel of ours has been started on it.
int64_t pretend_launches();
void count_pretend_launch();

}  // namespace graft::testing
