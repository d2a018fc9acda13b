// The CUDA kernels for the pretend device: their own sources, with another launcher (pretend/kernels/base/cuda_launcher.cuh). They stand
// before those in the kernels' libraries when a test is linked.
#include "kernels/gguf_blocks/gguf_blocks_cuda.cu"
#include "kernels/head_loss/head_loss_cuda.cu"
#include "kernels/nf4/nf4_cuda.cu"
#include "kernels/rows/rows_cuda.cu"

#include "kernels/base/cuda_device.h"

namespace graft::kernels {

std::string why_no_cuda_device() { return ""; }

}  // namespace graft::kernels
