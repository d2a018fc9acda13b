#include "kernels/depth_views/depth_views_cuda.h"

#include "kernels/base/cuda_launcher.cuh"
#include "kernels/depth_views/depth_views_programs.h"

namespace graft::kernels {

int64_t depth_views_scratch(int64_t clouds, int64_t views) { return detail::depth_scratch(clouds * views); }

void depth_views_cuda(const DeviceClouds& clouds, const float* views, int64_t view_count, int64_t side, float* pictures, float* scratch,
                      void* stream) {
  detail::launch_depth_views(detail::CudaLauncher(stream, "depth views on CUDA"), clouds, views, view_count, side, pictures, scratch);
}

}  // namespace graft::kernels
