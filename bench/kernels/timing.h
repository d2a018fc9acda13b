#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

namespace graft::bench {

struct Milliseconds {
  double best, median;
};

/// `work` once to warm up, then `repetitions` times by the clock.
inline Milliseconds timed(int repetitions, const std::function<void()>& work) {
  std::vector<double> milliseconds;
  work();
  for (int i = 0; i < repetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    milliseconds.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(milliseconds.begin(), milliseconds.end());
  return {milliseconds.front(), milliseconds[milliseconds.size() / 2]};
}

}  // namespace graft::bench
