#include "kernels/base/cuda_device.h"

#include "kernels/base/cuda_launcher.cuh"

namespace graft::kernels {

std::string why_no_cuda_device() {
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result == cudaSuccess && count > 0) return "";
  return std::string("no CUDA device: ") + (result == cudaSuccess ? "none is visible" : cudaGetErrorString(result));
}

void wait_for_cuda() { detail::check_cuda(cudaDeviceSynchronize(), "CUDA"); }

CudaMemory::CudaMemory(size_t bytes) : bytes_(bytes) {
  void* data = nullptr;
  if (bytes > 0) detail::check_cuda(cudaMalloc(&data, bytes), "CUDA memory");
  data_.reset(data);
}

void CudaMemory::write(const void* from) {
  if (bytes_ > 0) detail::check_cuda(cudaMemcpy(data_.get(), from, bytes_, cudaMemcpyHostToDevice), "CUDA memory");
}

void CudaMemory::read(void* to) const {
  wait_for_cuda();
  if (bytes_ > 0) detail::check_cuda(cudaMemcpy(to, data_.get(), bytes_, cudaMemcpyDeviceToHost), "CUDA memory");
}

void CudaMemory::Free::operator()(void* data) const { cudaFree(data); }

}  // namespace graft::kernels
