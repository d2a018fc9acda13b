#pragma once

#include "kernels/base/error.h"
#include "tests/kernels/base/host_launcher.h"
#include "tests/support/pretend_device.h"

// Stands in for the real header of this path where pretend_cuda_kernels.cpp is compiled: what would be started on a GPU is run at once.
namespace graft::kernels::detail {

struct CudaLauncher {
  CudaLauncher(const void* stream, const char*) { GRAFT_ASSERT(stream == testing::pretend_stream()); }

  template <class Program>
  void operator()(int64_t blocks, const Program& program) const {
    const testing::OpenMemory open;
    testing::count_pretend_launch();
    HostLauncher{}(blocks, program);
  }
};

}  // namespace graft::kernels::detail
