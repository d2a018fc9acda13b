#include "kernels/base/cuda_device.h"

#include "kernels/base/cuda_launcher.cuh"

namespace graft::kernels {

std::string why_no_cuda_device() {
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result == cudaSuccess && count > 0) return "";
  return std::string("no CUDA device: ") + (result == cudaSuccess ? "none is visible" : cudaGetErrorString(result));
}

std::string cuda_device_description() {
  int device = 0, driver = 0, runtime = 0;
  cudaDeviceProp properties{};
  detail::check_cuda(cudaGetDevice(&device), "CUDA");
  detail::check_cuda(cudaGetDeviceProperties(&properties, device), "CUDA");
  detail::check_cuda(cudaDriverGetVersion(&driver), "CUDA");
  detail::check_cuda(cudaRuntimeGetVersion(&runtime), "CUDA");
  const auto version = [](int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); };
  return std::string(properties.name) + ", " + std::to_string(properties.totalGlobalMem >> 30) + " GiB, " +
         std::to_string(properties.multiProcessorCount) + " multiprocessors, driver for CUDA " + version(driver) + ", runtime " +
         version(runtime);
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

CudaStream::CudaStream() {
  cudaStream_t stream = nullptr;
  detail::check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "CUDA stream");
  stream_.reset(stream);
}

void CudaStream::wait() const { detail::check_cuda(cudaStreamSynchronize(static_cast<cudaStream_t>(get())), "CUDA stream"); }

void CudaStream::Destroy::operator()(void* stream) const { cudaStreamDestroy(static_cast<cudaStream_t>(stream)); }

namespace {

cudaEvent_t event_of(const void* pointer) { return static_cast<cudaEvent_t>(const_cast<void*>(pointer)); }

void* new_event() {
  cudaEvent_t event = nullptr;
  detail::check_cuda(cudaEventCreate(&event), "CUDA timer");
  return event;
}

void record(const void* event, void* stream) {
  detail::check_cuda(cudaEventRecord(event_of(event), static_cast<cudaStream_t>(stream)), "CUDA timer");
}

}  // namespace

CudaTimer::CudaTimer() : start_(new_event()), stop_(new_event()) {}

void CudaTimer::start(void* stream) const { record(start_.get(), stream); }
void CudaTimer::stop(void* stream) const { record(stop_.get(), stream); }

double CudaTimer::milliseconds() const {
  float milliseconds = 0;
  detail::check_cuda(cudaEventSynchronize(event_of(stop_.get())), "CUDA timer");
  detail::check_cuda(cudaEventElapsedTime(&milliseconds, event_of(start_.get()), event_of(stop_.get())), "CUDA timer");
  return static_cast<double>(milliseconds);
}

void CudaTimer::Destroy::operator()(void* event) const { cudaEventDestroy(event_of(event)); }

}  // namespace graft::kernels
