#include "kernels/rows/highway_targets.h"

#include <hwy/targets.h>

#include "kernels/base/cpu_features.h"

namespace graft::kernels {
namespace {

#if HWY_ARCH_X86
constexpr int64_t kAvx512 = HWY_AVX3 | HWY_AVX3_DL;

int64_t forbidden_targets() {
  const auto &offered = processor_features(), &allowed = cpu_features();
  if (offered.avx2 && !allowed.avx2) return kAvx512 | HWY_AVX2 | HWY_SSE4 | HWY_SSSE3;
  return allowed.avx512 ? 0 : kAvx512;
}
#else
int64_t forbidden_targets() { return 0; }
#endif

bool forbid_targets() {
  const int64_t targets = forbidden_targets();
  if (targets != 0) hwy::DisableTargets(targets);
  return true;
}

}  // namespace

void choose_highway_targets() {
  static const bool done = forbid_targets();
  static_cast<void>(done);
}

HighwayTargets highway_targets() {
  choose_highway_targets();
  const int64_t runs_here = hwy::SupportedTargets() & HWY_TARGETS;
  HighwayTargets found;
  // A lower bit is a better instruction set.
  for (int64_t rest = HWY_TARGETS, target = 0; rest != 0; rest &= ~target) {
    target = rest & -rest;
    if (found.chosen.empty() && (target & runs_here) != 0) {
      found.chosen = hwy::TargetName(target);
    } else {
      found.others.emplace_back(hwy::TargetName(target));
    }
  }
  return found;
}

}  // namespace graft::kernels
