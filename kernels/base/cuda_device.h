#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace graft::kernels {

/// Empty if CUDA kernels are compiled in and a device answers; else the reason, one line.
std::string why_no_cuda_device();

/// Name, memory, multiprocessors, driver's and runtime's CUDA version of the current device, one line.
std::string cuda_device_description();

/// Waits for all work on the current device. Throws Unavailable with CUDA's words if some of it failed.
void wait_for_cuda();

/// A piece of the current device's memory, for tests and tools; training takes its memory from LibTorch. Copies wait for all work before.
/// Throws Unavailable where no memory or no device is there.
class CudaMemory {
 public:
  explicit CudaMemory(size_t bytes);
  CudaMemory(const void* from, size_t bytes) : CudaMemory(bytes) { write(from); }

  void* data() const { return data_.get(); }
  void write(const void* from);
  void read(void* to) const;

 private:
  struct Free {
    void operator()(void* data) const;
  };
  size_t bytes_;
  std::unique_ptr<void, Free> data_;
};

/// A stream whose work runs beside that of others, for tests and tools. get() is what kernels take as `stream`.
class CudaStream {
 public:
  CudaStream();
  void* get() const { return stream_.get(); }
  void wait() const;

 private:
  struct Destroy {
    void operator()(void* stream) const;
  };
  std::unique_ptr<void, Destroy> stream_;
};

/// Time on the device between two points of a stream.
class CudaTimer {
 public:
  CudaTimer();
  void start(void* stream) const;
  void stop(void* stream) const;
  /// Waits for the second point.
  double milliseconds() const;

 private:
  struct Destroy {
    void operator()(void* event) const;
  };
  std::unique_ptr<void, Destroy> start_, stop_;
};

}  // namespace graft::kernels
