#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/base/bfloat16.h"
#include "kernels/base/host_device.h"

// A block program is a CUDA kernel as one text that the processor can run too, so that its arithmetic, its indices and its grid are tested
// where there is no GPU. It is a struct of pointers and sizes:
//
//   struct Program {
//     static constexpr int kThreads = 256;   // of a block, a multiple of 32
//     struct Shared {};                      // memory that the threads of a block share
//     template <class Block> GRAFT_HOST_DEVICE void operator()(Block& block, Shared& shared) const;
//   };
//
// The body works in phases. block.each(f) calls f(thread) for every thread of the block and then waits for all of them, so a phase may read
// what an earlier one wrote and threads of one phase must not depend on each other. What a thread keeps from phase to phase stands in a
// Block::PerThread<T>. block.reduce(values, join) joins the threads' values in a fixed order and gives every thread the same result. Code
// between phases must be the same for all threads. keep_larger() may be called by many threads of a phase on one place.
//
// A launcher is a function object launcher(blocks, program): CudaLauncher (cuda_launcher.cuh) or the test's HostLauncher. Everything that
// chooses a program, a grid or a path is a template over the launcher, so it is tested as well. Sums have one order, the only atomic is a
// maximum, which has no order, and nvcc melts no product and sum into one rounding (-fmad=false), so both run to the same bits.
namespace graft::kernels::detail {

/// Two sums that one reduction makes.
struct TwoSums {
  float first, second;
};

struct Add {
  GRAFT_HOST_DEVICE float operator()(float a, float b) const { return a + b; }
  GRAFT_HOST_DEVICE TwoSums operator()(TwoSums a, TwoSums b) const { return {a.first + b.first, a.second + b.second}; }
};

GRAFT_HOST_DEVICE inline int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// *to = max(*to, value) for numbers that are not negative, whose bits are ordered as they are.
GRAFT_HOST_DEVICE inline void keep_larger(float* to, float value) {
#if defined(__CUDA_ARCH__)
  atomicMax(reinterpret_cast<int*>(to), __float_as_int(value));
#else
  if (value > *to) *to = value;
#endif
}

// ---------------------------------------------------------------- numbers in memory: fp32 as float, bf16 as uint16_t

GRAFT_HOST_DEVICE inline float widen(float v) { return v; }
GRAFT_HOST_DEVICE inline float widen(uint16_t v) { return bfloat16_to_float(v); }
GRAFT_HOST_DEVICE inline void narrow(float v, float& to) { to = v; }
GRAFT_HOST_DEVICE inline void narrow(float v, uint16_t& to) {
#if defined(__CUDA_ARCH__)
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to) : "f"(v));  // one instruction for six; another NaN
#else
  to = float_to_bfloat16(v);
#endif
}

/// sizeof(T) bytes at p, which is aligned for T: one read where T is a word of the device.
template <class T>
GRAFT_HOST_DEVICE inline T read_aligned(const void* p) {
  T value;
  memcpy(&value, __builtin_assume_aligned(p, alignof(T)), sizeof value);
  return value;
}

/// Numbers that one thread takes at once: 16 bytes of bf16, the widest access of all architectures.
constexpr int kEight = 8;

template <class T>
struct alignas(16) Pack {
  T values[kEight];
};

/// True if Packs may be read and written at p. Null, for what is not wanted, is no hindrance.
inline bool holds_packs(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

/// True if words of 4 bytes may be read at p.
inline bool holds_words(const void* p) { return reinterpret_cast<uintptr_t>(p) % 4 == 0; }

/// Numbers of an eight that begins at `first` and lies before `end`.
GRAFT_HOST_DEVICE inline int count_of_eight(int64_t first, int64_t end) {
  return end - first < kEight ? static_cast<int>(end - first) : kEight;
}

/// Reads `count` <= 8 numbers; the others are 0. `packed`: p is aligned for a Pack.
template <class T>
GRAFT_HOST_DEVICE inline void load_eight(const T* p, int count, bool packed, float (&to)[kEight]) {
  if (packed && count == kEight) {
    const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(p);
    for (int i = 0; i < kEight; ++i) to[i] = widen(pack.values[i]);
  } else {
    for (int i = 0; i < kEight; ++i) to[i] = i < count ? widen(p[i]) : 0.0f;
  }
}

template <class T>
GRAFT_HOST_DEVICE inline void narrow_eight(const float (&from)[kEight], Pack<T>& to) {
  for (int i = 0; i < kEight; ++i) narrow(from[i], to.values[i]);
}
#if defined(__CUDA_ARCH__)
/// Two at a time.
inline __device__ void narrow_eight(const float (&from)[kEight], Pack<uint16_t>& to) {
  struct Words {
    uint32_t of[kEight / 2];
  } words;
  for (int i = 0; i < kEight / 2; ++i) asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(words.of[i]) : "f"(from[2 * i + 1]), "f"(from[2 * i]));
  memcpy(to.values, words.of, sizeof words);
}
#endif

template <class T>
GRAFT_HOST_DEVICE inline void store_eight(const float (&from)[kEight], int count, bool packed, T* p) {
  if (packed && count == kEight) {
    Pack<T> pack;
    narrow_eight(from, pack);
    *reinterpret_cast<Pack<T>*>(p) = pack;
  } else {
    for (int i = 0; i < kEight; ++i)
      if (i < count) narrow(from[i], p[i]);
  }
}

/// The row's numbers that are this thread's share: calls f(first, count) for eights of `threads` threads in turn.
template <class F>
GRAFT_HOST_DEVICE inline void over_eights(int thread, int threads, int64_t n, const F& f) {
  for (int64_t first = int64_t{thread} * kEight; first < n; first += int64_t{threads} * kEight) f(first, count_of_eight(first, n));
}

}  // namespace graft::kernels::detail
