#include "kernels/base/cpu_features.h"

#include <array>
#include <cstdlib>
#include <cstring>

#include "kernels/base/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace graft::kernels {
namespace {

#if defined(__x86_64__)

struct CpuidResult {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

CpuidResult cpuid(unsigned leaf, unsigned subleaf) {
  CpuidResult r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

bool bit(unsigned word, unsigned index) { return ((word >> index) & 1u) != 0; }

unsigned long long enabled_state() {
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<unsigned long long>(high) << 32) | low;
}

bool amx_permitted() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

CpuFeatures read_features() {
  CpuFeatures f;
  const auto leaf1 = cpuid(1, 0);
  const auto leaf7 = cpuid(7, 0);
  const auto leaf71 = cpuid(7, 1);
  const bool os_saves = bit(leaf1.ecx, 27);
  const auto state = os_saves ? enabled_state() : 0;
  const bool ymm = (state & 0x6) == 0x6, zmm = (state & 0xe6) == 0xe6, tiles = (state & 0x60000) == 0x60000;
  f.avx2 = ymm && bit(leaf7.ebx, 5) && bit(leaf1.ecx, 12);
  f.f16c = ymm && bit(leaf1.ecx, 29);
  f.avx512 = zmm && bit(leaf7.ebx, 16) && bit(leaf7.ebx, 17) && bit(leaf7.ebx, 30) && bit(leaf7.ebx, 31);
  f.avx512_bf16 = f.avx512 && bit(leaf71.eax, 5);
  f.amx_bf16 = tiles && bit(leaf7.edx, 22) && bit(leaf7.edx, 24) && amx_permitted();

  std::array<char, 49> brand{};
  for (unsigned part = 0; part < 3; ++part) {
    const auto r = cpuid(0x80000002u + part, 0);
    std::memcpy(brand.data() + 16 * part, &r, 16);
  }
  f.brand = brand.data();
  return f;
}

#else

CpuFeatures read_features() { return {}; }

#endif

/// The features without those above `level`.
CpuFeatures limited(CpuFeatures f, const std::string& level) {
  const std::array<std::string, 4> levels = {"generic", "avx2", "avx512", "amx"};
  size_t rank = 0;
  while (rank < levels.size() && levels[rank] != level) ++rank;
  if (rank == levels.size())
    throw InvalidArgument({.where = "GRAFT_CPU", .what = "is unknown", .expected = "amx, avx512, avx2 or generic", .got = level});
  const std::array<bool, 4> has = {true, f.avx2, f.avx512, f.amx_bf16};
  if (!has[rank]) throw Unavailable({.where = "GRAFT_CPU", .what = "names " + level + ", which this processor has not", .got = f.brand});
  if (rank < 3) f.amx_bf16 = false;
  if (rank < 2) f.avx512 = f.avx512_bf16 = false;
  if (rank < 1) f.avx2 = f.f16c = false;
  return f;
}

/// The value of GRAFT_CPU, empty where it has none.
std::string level_in_environment() {
  const char* level = std::getenv("GRAFT_CPU");
  return level == nullptr ? "" : level;
}

KernelChoice current_choice = KernelChoice::kAuto;
bool features_are_settled = false;

CpuFeatures chosen_features() {
  features_are_settled = true;
  const auto level = current_choice == KernelChoice::kReference ? "generic" : level_in_environment();
  return level.empty() ? processor_features() : limited(processor_features(), level);
}

}  // namespace

const CpuFeatures& processor_features() {
  static const CpuFeatures features = read_features();
  return features;
}

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = chosen_features();
  return features;
}

void choose_kernels(KernelChoice choice) {
  const bool changes = (choice == KernelChoice::kReference) != (current_choice == KernelChoice::kReference);
  if (features_are_settled && changes) {
    throw Unavailable({.where = "--kernels", .what = "cannot change any more in this process", .expected = std::string(name_of(current_choice)),
                       .got = std::string(name_of(choice))});
  }
  current_choice = choice;
}

KernelChoice chosen_kernels() { return current_choice; }

std::string_view name_of(KernelChoice choice) {
  switch (choice) {
    case KernelChoice::kCpu: return "cpu";
    case KernelChoice::kReference: return "reference";
    case KernelChoice::kAuto: break;
  }
  return "auto";
}

std::string cpu_limit() {
  if (current_choice == KernelChoice::kReference) return "--kernels reference";
  const auto level = level_in_environment();
  return level.empty() || level == "amx" ? "" : "GRAFT_CPU=" + level;
}

bool has_fast_bfloat16() { return cpu_features().amx_bf16 || cpu_features().avx512_bf16; }

}  // namespace graft::kernels
