// Stands in for cuda_device_cuda.cu where nvcc was not found.
#include "kernels/base/cuda_device.h"
#include "kernels/base/cuda_state.h"

namespace graft::kernels {

std::string why_no_cuda_device() { return "CUDA kernels are " + cuda_state(); }

std::string cuda_device_description() { cuda_kernels_missing("CUDA"); }

void wait_for_cuda() { cuda_kernels_missing("CUDA"); }

CudaMemory::CudaMemory(size_t bytes) : bytes_(bytes) { cuda_kernels_missing("CUDA memory"); }
void CudaMemory::write(const void*) { cuda_kernels_missing("CUDA memory"); }
void CudaMemory::read(void*) const { cuda_kernels_missing("CUDA memory"); }
void CudaMemory::Free::operator()(void*) const {}

CudaStream::CudaStream() { cuda_kernels_missing("CUDA stream"); }
void CudaStream::wait() const { cuda_kernels_missing("CUDA stream"); }
void CudaStream::Destroy::operator()(void*) const {}

CudaTimer::CudaTimer() { cuda_kernels_missing("CUDA timer"); }
void CudaTimer::start(void*) const { cuda_kernels_missing("CUDA timer"); }
void CudaTimer::stop(void*) const { cuda_kernels_missing("CUDA timer"); }
double CudaTimer::milliseconds() const { cuda_kernels_missing("CUDA timer"); }
void CudaTimer::Destroy::operator()(void*) const {}

}  // namespace graft::kernels
