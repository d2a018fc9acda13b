#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "kernels/base/block_program.h"

// Runs block programs on the processor: blocks and threads are loops, and reductions join in the device's order.
namespace graft::kernels {

enum class ThreadOrder { kForward, kBackward };

class HostBlock {
 public:
  static constexpr int kWarp = 32, kMostThreads = 256;

  HostBlock(int64_t index, int threads, ThreadOrder order) : index_(index), threads_(threads), order_(order) {}

  template <class T>
  struct PerThread {
    std::array<T, kMostThreads> values;
    PerThread() { std::memset(static_cast<void*>(values.data()), 0xff, sizeof values); }  // NaN, so that what was not written is seen
    T& operator[](int thread) { return values[static_cast<size_t>(thread)]; }
  };

  int64_t index() const { return index_; }

  template <class F>
  void each(const F& f) {
    for (int i = 0; i < threads_; ++i) f(order_ == ThreadOrder::kForward ? i : threads_ - 1 - i);
  }

  template <class T, class Join>
  T reduce(PerThread<T>& values, const Join& join) {
    auto current = values.values;
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
      const auto before = current;
      for (size_t i = 0; i < static_cast<size_t>(threads_); ++i) current[i] = join(before[i], before[i ^ static_cast<size_t>(distance)]);
    }
    T total = current[0];
    for (size_t i = kWarp; i < static_cast<size_t>(threads_); i += kWarp) total = join(total, current[i]);
    return total;
  }

 private:
  int64_t index_;
  int threads_;
  ThreadOrder order_;
};

/// Blocks and the threads of a phase run in the given order; a program whose result depends on it has a race.
struct HostLauncher {
  ThreadOrder order = ThreadOrder::kForward;

  template <class Program>
  void operator()(int64_t blocks, const Program& program) const {
    static_assert(Program::kThreads % HostBlock::kWarp == 0 && Program::kThreads <= HostBlock::kMostThreads);
    for (int64_t i = 0; i < blocks; ++i) {
      typename Program::Shared shared;
      std::memset(static_cast<void*>(&shared), 0xff, sizeof shared);
      HostBlock block(order == ThreadOrder::kForward ? i : blocks - 1 - i, Program::kThreads, order);
      program(block, shared);
    }
  }
};

}  // namespace graft::kernels
