#pragma once

#include <string>

namespace graft::kernels {

/// Instruction sets that kernels choose between.
struct CpuFeatures {
  bool avx2 = false;
  bool f16c = false;
  bool avx512 = false;       ///< F, BW, VL and DQ together
  bool avx512_bf16 = false;
  bool amx_bf16 = false;     ///< tiles present and permitted by the kernel
  std::string brand;         ///< the processor's own name
};

/// What this processor and its operating system offer, read once.
const CpuFeatures& processor_features();

/// What kernels may use: the processor's, or fewer where the environment variable GRAFT_CPU is `avx512`, `avx2` or `generic`, so that each
/// variant can be tried on one machine. `amx`, like no value, takes all. Read once.
/// Throws   InvalidArgument for another value, Unavailable where the processor lacks what GRAFT_CPU names.
const CpuFeatures& cpu_features();

/// True where 16-bit products run faster than fp32 ones (AMX or AVX512-BF16); elsewhere they are several times slower.
bool has_fast_bfloat16();

}  // namespace graft::kernels
