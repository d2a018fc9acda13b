#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace graft::pipelines {

/// Where models compute under `--kernels NAME`: "cuda": in the GPU's memory, else in the processor's. Throws Unavailable, with the reason,
/// where there is no GPU that both our kernels and LibTorch can use.
at::Device device_for(const std::string& kernels);

/// Bytes of the device's memory that can still be taken.
int64_t available_memory(at::Device device);

}  // namespace graft::pipelines
