// Stands in for depth_views_cuda.cu where nvcc was not found.
#include "kernels/base/cuda_state.h"
#include "kernels/depth_views/depth_views_cuda.h"
#include "kernels/depth_views/depth_views_programs.h"

namespace graft::kernels {

int64_t depth_views_scratch(int64_t clouds, int64_t views) { return detail::depth_scratch(clouds * views); }

void depth_views_cuda(const DeviceClouds&, const float*, int64_t, int64_t, float*, float*, void*) {
  cuda_kernels_missing("depth views on CUDA");
}

}  // namespace graft::kernels
