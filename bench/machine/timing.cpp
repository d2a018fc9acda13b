#include "bench/machine/timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

namespace graft::bench {
namespace {

double seconds_of(const std::function<void()>& run) {
  const auto begin = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// A side with the number of calls that one measurement takes.
class Measured {
 public:
  explicit Measured(const Side& side) : side_(side) {
    once();  // fills caches, lays weights out
    constexpr double kLeastSeconds = 4e-3;
    const double first = once();
    if (side_.prepare) return;
    calls_ = std::clamp(static_cast<int>(std::ceil(kLeastSeconds / std::max(first, 1e-7))), 1, 10000);
    warms_up_ = first < kShort;
  }

  double seconds_a_call() const {
    if (side_.prepare) side_.prepare();
    const auto all = [this] {
      for (int call = 0; call < calls_; ++call) side_.run();
    };
    if (warms_up_) all();
    return seconds_of(all) / calls_;
  }

 private:
  double once() const {
    if (side_.prepare) side_.prepare();
    return seconds_of(side_.run);
  }

  static constexpr double kShort = 0.02;  // seconds; behind a longer call the caches hold nothing of the one before anyway

  const Side& side_;
  int calls_ = 1;
  bool warms_up_ = false;
};

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

}  // namespace

Turns in_turns(const Side& ours, const Side& theirs, const Budget& budget) {
  constexpr int kMostRounds = 200;
  const Measured first(ours), second(theirs);
  std::vector<double> our_times, their_times, ratios;
  const auto begin = std::chrono::steady_clock::now();
  const auto time_left = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() < budget.seconds; };
  for (int round = 0; round < budget.least_rounds || (round < kMostRounds && time_left()); ++round) {
    our_times.push_back(first.seconds_a_call());
    their_times.push_back(second.seconds_a_call());
    ratios.push_back(their_times.back() / our_times.back());
  }
  const int rounds = static_cast<int>(ratios.size());
  return {spread_of(our_times), spread_of(their_times), spread_of(ratios), rounds};
}

double best_of(int runs, const std::function<void()>& run) {
  double best = seconds_of(run);
  for (int i = 1; i < runs; ++i) best = std::min(best, seconds_of(run));
  return best;
}

double best_within(double seconds, const std::function<void()>& run) {
  double best = seconds_of(run), spent = best;
  while (spent < seconds) {
    const double once = seconds_of(run);
    best = std::min(best, once);
    spent += once;
  }
  return best;
}

}  // namespace graft::bench
