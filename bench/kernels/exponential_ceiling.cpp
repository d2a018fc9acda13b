#include "bench/kernels/exponential_ceiling.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/kernels/exponential_ceiling.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>

#include <cstdint>
#include <vector>

HWY_BEFORE_NAMESPACE();
namespace graft::bench::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

double sum_of_exponentials(const double* values, int64_t count) {
  const hn::CappedTag<double, 8> d;
  auto sum = hn::Zero(d);
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(hn::Lanes(d))) sum = hn::Add(sum, hn::Exp(d, hn::LoadU(d, values + i)));
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

}  // namespace graft::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <random>

#include "bench/machine/timing.h"
#include "kernels/rows/highway_targets.h"

namespace graft::bench {
HWY_EXPORT(sum_of_exponentials);

double exponentials_per_second() {
  kernels::choose_highway_targets();
  constexpr int64_t kCount = 2048;  // 16 KiB
  constexpr int kRuns = 20, kRepeats = 200;
  std::mt19937 random(7);
  std::uniform_real_distribution<double> uniform(-30, 0);
  std::vector<double> values(static_cast<size_t>(kCount));
  for (auto& value : values) value = uniform(random);
  volatile double kept = 0;  // or the loop would be left out
  const double seconds = best_of(kRuns, [&] {
    for (int i = 0; i < kRepeats; ++i) kept = kept + HWY_DYNAMIC_DISPATCH(sum_of_exponentials)(values.data(), kCount);
  });
  return static_cast<double>(kCount * kRepeats) / seconds;
}

}  // namespace graft::bench
#endif
