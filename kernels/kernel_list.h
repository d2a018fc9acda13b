#pragma once

#include <string>
#include <vector>

namespace graft::kernels {

/// Which implementation of a kernel runs in this process, for people.
struct KernelUse {
  std::string name;
  std::string chosen;               ///< its variant; "LibTorch" where the operators of kernels/ops leave the work to LibTorch
  std::string why;                  ///< a few words: "amx_bf16 and avx512_bf16 present", "no amx_bf16", "GRAFT_CPU=avx2"
  std::vector<std::string> others;  ///< variants that were built and are not used
};

/// True where computing in bf16 is no slower than in fp32: with 16-bit products of the processor's own, or on tiles that widen what they load
/// (fma_tiles.h). It takes half the memory. Throws as cpu_features() does.
bool bfloat16_pays();

/// All kernels, one line each. Throws as cpu_features() does.
std::vector<KernelUse> kernel_uses();

}  // namespace graft::kernels
