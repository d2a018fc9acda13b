#include "pipelines/device.h"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>

#include "kernels/base/cuda_device.h"
#include "kernels/base/error.h"
#include "peft_core/base/memory_figures.h"

namespace graft::pipelines {
namespace {

[[noreturn]] void refuse(const std::string& got) {
  throw Unavailable({.where = "--kernels cuda", .what = "needs a GPU that this build can use", .got = got,
                     .hint = "--kernels auto takes the fastest kernels of the processor"});
}

}  // namespace

at::Device device_for(const std::string& kernels) {
  if (kernels != "cuda") return at::kCPU;
  if (const auto why = kernels::why_no_cuda_device(); !why.empty()) refuse(why);
  const auto type = at::accelerator::getAccelerator();
  if (!type) refuse("a LibTorch without CUDA");
  at::globalContext().lazyInitDevice(*type);  // its allocator is asked for free memory before there is a tensor
  return {*type, 0};
}

int64_t available_memory(at::Device device) {
  if (device.is_cpu()) return read_memory_figures().available;
  return static_cast<int64_t>(at::getDeviceAllocator(device.type())->getMemoryInfo(device.index()).first);
}

}  // namespace graft::pipelines
