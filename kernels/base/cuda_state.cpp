#include "kernels/base/cuda_state.h"

#include "kernels/base/error.h"

// cmake/cuda_kernels.cmake defines both; a build without it has no CUDA kernels.
#ifndef GRAFT_CUDA_KERNELS_STATE
#define GRAFT_CUDA_KERNELS_STATE "not compiled: this build does not look for nvcc"
#define GRAFT_CUDA_KERNELS_COMPILED false
#endif

namespace graft::kernels {

std::string cuda_state() { return GRAFT_CUDA_KERNELS_STATE; }

bool cuda_kernels_compiled() { return GRAFT_CUDA_KERNELS_COMPILED; }

void cuda_kernels_missing(const char* where) {
  throw Unavailable({.where = where, .what = "has no CUDA kernel in this build (" + cuda_state() + ")",
                     .hint = "CUDA kernels need nvcc (a CUDA toolkit, or ./graft cuda-check) and a CUDA build of LibTorch; then ./graft build"});
}

}  // namespace graft::kernels
