#pragma once

#include <ATen/core/Tensor.h>

// Operators work where their tensors lie. In a GPU's memory the CUDA variants of our kernels run between LibTorch's products and attention.
namespace graft::ops {

inline bool on_device(const at::Tensor& x) { return !x.device().is_cpu(); }

/// LibTorch's current stream of x's device, as CUDA kernels take it: what is started there keeps its order with LibTorch's own work.
void* stream_of(const at::Tensor& x);

/// Calls the variant for the memory that x lies in: host(arguments…), or device(arguments…, stream).
template <class Host, class Device, class... Arguments>
void run_beside(const at::Tensor& x, const Host& host, const Device& device, const Arguments&... arguments) {
  if (on_device(x)) {
    device(arguments..., stream_of(x));
  } else {
    host(arguments...);
  }
}

}  // namespace graft::ops
