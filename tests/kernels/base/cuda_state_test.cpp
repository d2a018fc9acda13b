#include "kernels/base/cuda_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "kernels/base/cuda_device.h"
#include "kernels/base/error.h"
#include "tests/kernels/base/host_launcher.h"

namespace graft::kernels {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(CudaState, SaysWhatIsCompiledOrWhyNot) {
  if (cuda_kernels_compiled()) {
    for (const char* architecture : {"sm_80", "sm_90", "sm_100"}) EXPECT_THAT(cuda_state(), HasSubstr(architecture));
    EXPECT_THAT(cuda_state(), StartsWith("compiled for "));
  } else {
    EXPECT_THAT(cuda_state(), StartsWith("not compiled: "));
    EXPECT_THAT(why_no_cuda_device(), HasSubstr(cuda_state()));
    EXPECT_THROW(CudaMemory(1), Unavailable);
  }
}

TEST(CudaState, AMissingKernelIsOneLineWithAHint) {
  try {
    cuda_kernels_missing("NF4 on CUDA");
    FAIL();
  } catch (const Unavailable& error) {
    EXPECT_EQ(error.exit_code(), 3);
    EXPECT_THAT(error.what(), StartsWith("[NF4 on CUDA] has no CUDA kernel"));
    EXPECT_THAT(error.what(), HasSubstr("./graft cuda-check"));
  }
}

TEST(CudaState, MemoryGoesToTheDeviceAndBack) {
  if (const auto why = why_no_cuda_device(); !why.empty()) GTEST_SKIP() << why;
  std::vector<int> values(1000), back(1000);
  std::iota(values.begin(), values.end(), 1);
  CudaMemory(values.data(), values.size() * sizeof(int)).read(back.data());
  EXPECT_EQ(back, values);
}

// ---------------------------------------------------------------- the host's stand-in for a device

/// y[i] = the sum of x over its block, written so that it is right only if phases wait for each other.
struct SumOfBlock {
  static constexpr int kThreads = 64;
  struct Shared {
    float values[kThreads];
  };
  const float* x;
  float* y;

  template <class Block>
  void operator()(Block& block, Shared& shared) const {
    typename Block::template PerThread<float> mine;
    block.each([&](int thread) { shared.values[thread] = x[block.index() * kThreads + thread]; });
    block.each([&](int thread) { mine[thread] = shared.values[kThreads - 1 - thread]; });
    const float total = block.reduce(mine, detail::Add());
    block.each([&](int thread) { y[block.index() * kThreads + thread] = total; });
  }
};

TEST(HostLauncher, RunsEveryThreadOfEveryBlockInPhases) {
  std::vector<float> x(3 * 64), forward(x.size()), backward(x.size());
  std::iota(x.begin(), x.end(), 1.0f);
  HostLauncher{ThreadOrder::kForward}(3, SumOfBlock{x.data(), forward.data()});
  HostLauncher{ThreadOrder::kBackward}(3, SumOfBlock{x.data(), backward.data()});
  for (size_t block = 0; block < 3; ++block) {
    const auto first = x.begin() + static_cast<std::ptrdiff_t>(block) * 64;
    EXPECT_EQ(forward[block * 64], std::accumulate(first, first + 64, 0.0f));
  }
  EXPECT_EQ(forward, backward);
}

/// Adds to one number from all threads: a race, which the order of the threads has to show.
struct Race {
  static constexpr int kThreads = 32;
  struct Shared {};
  float* y;

  template <class Block>
  void operator()(Block& block, Shared&) const {
    block.each([&](int thread) { *y = *y * 0.5f + static_cast<float>(thread); });
  }
};

TEST(HostLauncher, TheOrderOfThreadsShowsARace) {
  float forward = 0, backward = 0;
  HostLauncher{ThreadOrder::kForward}(1, Race{&forward});
  HostLauncher{ThreadOrder::kBackward}(1, Race{&backward});
  EXPECT_NE(forward, backward);
}

}  // namespace
}  // namespace graft::kernels
