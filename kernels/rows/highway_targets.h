#pragma once

#include <string>
#include <vector>

namespace graft::kernels {

/// Makes Highway's dispatch keep to `cpu_features()`, so that GRAFT_CPU holds for these kernels too: `avx2` leaves out AVX-512, `generic`
/// leaves the target that every processor of the architecture has. Works once, costs nothing afterwards; any thread may call it.
/// Must come before the first dispatch. Throws as `cpu_features()` does.
void choose_highway_targets();

struct HighwayTargets {
  std::string chosen;               ///< the instruction set that these kernels run with, by Highway's name: "AVX3", "AVX2", "SCALAR"
  std::vector<std::string> others;  ///< the others that were compiled, best first
};
/// Throws as `cpu_features()` does.
HighwayTargets highway_targets();

}  // namespace graft::kernels
