#pragma once

#include <string>
#include <string_view>

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

/// Which implementations a person asked for (--kernels).
enum class KernelChoice {
  kAuto,       ///< the fastest that run here
  kCpu,        ///< the same, but never a GPU's
  kReference,  ///< plain loops, and LibTorch's operators in fp32, as with GRAFT_CPU=generic: slow, to check the others against
};

/// Holds for the whole process. Call it before anything asks for cpu_features().
/// Throws   Unavailable if it comes too late: kernels have settled on another choice.
void choose_kernels(KernelChoice choice);
KernelChoice chosen_kernels();
std::string_view name_of(KernelChoice choice);  ///< "auto", "cpu", "reference"

/// What kernels may use: the processor's, or fewer where the environment variable GRAFT_CPU is `avx512`, `avx2` or `generic`, so that each
/// variant can be tried on one machine. `amx`, like no value, takes all. KernelChoice::kReference wins over it. Read once.
/// Throws   InvalidArgument for another value, Unavailable where the processor lacks what GRAFT_CPU names.
const CpuFeatures& cpu_features();

/// What keeps kernels from using all of the processor: "GRAFT_CPU=avx2", "--kernels reference"; empty: nothing does.
std::string cpu_limit();

/// True where 16-bit products run faster than fp32 ones (AMX or AVX512-BF16); elsewhere they are several times slower.
bool has_fast_bfloat16();

}  // namespace graft::kernels
