#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <limits>

#include "kernels/base/block_program.h"
#include "kernels/base/error.h"

// Runs block programs (block_program.h) on a CUDA device. The only place with threads, barriers and shuffles.
namespace graft::kernels::detail {

class DeviceBlock {
 public:
  static constexpr int kWarp = 32, kMostWarps = 32, kMostBytes = 16;
  struct Memory {
    alignas(16) unsigned char bytes[kMostWarps * kMostBytes];
  };

  __device__ explicit DeviceBlock(Memory& memory) : memory_(memory) {}

  template <class T>
  struct PerThread {
    T value;
    __device__ T& operator[](int) { return value; }
  };

  __device__ int64_t index() const { return static_cast<int64_t>(blockIdx.x); }

  template <class F>
  __device__ void each(const F& f) {
    f(static_cast<int>(threadIdx.x));
    __syncthreads();
  }

  /// Lanes join with those 16, 8, 4, 2 and 1 away, then every thread joins the first lanes' results in the order of the warps.
  template <class T, class Join>
  __device__ T reduce(PerThread<T>& values, const Join& join) {
    static_assert(sizeof(T) <= kMostBytes && sizeof(T) % 4 == 0);
    T value = values.value;
    for (int distance = kWarp / 2; distance > 0; distance /= 2) value = join(value, from_lane(value, distance));
    T* of_warp = reinterpret_cast<T*>(memory_.bytes);
    const int thread = static_cast<int>(threadIdx.x), warps = static_cast<int>(blockDim.x) / kWarp;
    if (thread % kWarp == 0) of_warp[thread / kWarp] = value;
    __syncthreads();
    T total = of_warp[0];
    for (int warp = 1; warp < warps; ++warp) total = join(total, of_warp[warp]);
    __syncthreads();  // before the next reduction writes there
    return total;
  }

 private:
  template <class T>
  static __device__ T from_lane(const T& value, int distance) {
    struct Words {
      unsigned words[sizeof(T) / 4];
    };
    auto words = std::bit_cast<Words>(value);
    for (unsigned& word : words.words) word = __shfl_xor_sync(0xffffffffu, word, distance);
    return std::bit_cast<T>(words);
  }

  Memory& memory_;
};

template <class Program>
__global__ void __launch_bounds__(Program::kThreads) run_block_program(const Program program) {
  __shared__ DeviceBlock::Memory memory;
  __shared__ typename Program::Shared shared;
  DeviceBlock block(memory);
  program(block, shared);
}

/// Throws Unavailable with CUDA's own words if `result` is an error.
inline void check_cuda(cudaError_t result, const char* where) {
  if (result == cudaSuccess) return;
  throw Unavailable({.where = where, .what = std::string("CUDA says: ") + cudaGetErrorString(result)});
}

/// Starts programs in order on one stream and does not wait for them.
struct CudaLauncher {
  cudaStream_t stream;
  const char* where;  ///< for errors

  CudaLauncher(void* stream_pointer, const char* name) : stream(static_cast<cudaStream_t>(stream_pointer)), where(name) {}

  template <class Program>
  void operator()(int64_t blocks, const Program& program) const {
    if (blocks == 0) return;
    if (blocks > std::numeric_limits<int32_t>::max()) {
      throw InvalidArgument({.where = where, .what = "is too large for one launch", .expected = "at most 2^31 - 1 blocks",
                             .got = std::to_string(blocks)});
    }
    run_block_program<<<static_cast<unsigned>(blocks), Program::kThreads, 0, stream>>>(program);
    check_cuda(cudaGetLastError(), where);
  }
};

}  // namespace graft::kernels::detail
