#pragma once

namespace graft::kernels {

/// Makes Highway's dispatch keep to `cpu_features()`, so that GRAFT_CPU holds for these kernels too: `avx2` leaves out AVX-512, `generic`
/// leaves the target that every processor of the architecture has. Works once, costs nothing afterwards; any thread may call it.
/// Must come before the first dispatch. Throws as `cpu_features()` does.
void choose_highway_targets();

}  // namespace graft::kernels
