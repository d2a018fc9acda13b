#pragma once

#include <string>

namespace graft::kernels {

/// What this processor and its operating system offer, read once.
struct CpuFeatures {
  bool avx2 = false;
  bool f16c = false;
  bool avx512 = false;       ///< F, BW, VL and DQ together
  bool avx512_bf16 = false;
  bool amx_bf16 = false;     ///< tiles present and permitted by the kernel
  std::string brand;         ///< the processor's own name
};

const CpuFeatures& cpu_features();

/// True where 16-bit products run faster than fp32 ones (AMX or AVX512-BF16); elsewhere they are several times slower.
bool has_fast_bfloat16();

}  // namespace graft::kernels
