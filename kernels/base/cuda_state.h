#pragma once

#include <string>

namespace graft::kernels {

/// What became of the CUDA kernels in this build: "compiled for sm_80 sm_90 sm_100", or "not compiled: nvcc not found".
std::string cuda_state();

/// True if the CUDA kernels are compiled in. Whether a device is there is another question: why_no_cuda_device().
bool cuda_kernels_compiled();

/// For the stubs that stand where CUDA kernels are not compiled. Throws Unavailable.
[[noreturn]] void cuda_kernels_missing(const char* where);

}  // namespace graft::kernels
