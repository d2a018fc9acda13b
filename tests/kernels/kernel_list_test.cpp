#include "kernels/kernel_list.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>

#include "kernels/base/cpu_features.h"
#include "kernels/base/error.h"

namespace graft::kernels {
namespace {

using ::testing::Contains;
using ::testing::ExitedWithCode;
using ::testing::Not;

/// Features are read once a process, so each case gets a child of this one, which never reads them itself.
void in_a_process_of_its_own(const std::function<void()>& checks) {
  const auto child = [&] {
    checks();
    std::exit(::testing::Test::HasFailure() ? 1 : 0);
  };
  EXPECT_EXIT(child(), ExitedWithCode(0), "");
}

KernelUse use(const std::string& name) {
  const auto all = kernel_uses();
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.name == name; });
  if (found == all.end()) throw std::runtime_error("no kernel " + name);
  return *found;
}

void expect_nothing_special(const std::string& limit) {
  for (const auto* name : {"packed products", "attention", "head and loss"}) EXPECT_EQ(use(name).chosen, "LibTorch") << name;
  EXPECT_EQ(use("NF4").chosen, "portable");
  EXPECT_EQ(use("GGUF blocks").chosen, "portable");
  EXPECT_EQ(use("few-row products").chosen, "portable");
  if (!processor_features().avx2) return;
  EXPECT_EQ(use("NF4").why, limit);
  EXPECT_EQ(use("rows").why, limit);
  EXPECT_THAT(use("NF4").others, Contains("avx2"));
  EXPECT_THAT(use("rows").others, Contains("AVX2"));
}

TEST(KernelList, EveryKernelNamesOneVariantAndAReason) {
  in_a_process_of_its_own([] {
    unsetenv("GRAFT_CPU");
    EXPECT_GE(kernel_uses().size(), 7u);
    for (const auto& one : kernel_uses()) {
      EXPECT_FALSE(one.chosen.empty()) << one.name;
      EXPECT_FALSE(one.why.empty()) << one.name;
      EXPECT_THAT(one.others, Not(Contains(one.chosen))) << one.name;
    }
    EXPECT_EQ(use("NF4").chosen == "portable", !processor_features().avx2);
  });
}

TEST(KernelList, TilesRunWhereTheProcessorHasThem) {
  if (!processor_features().amx_bf16 || !processor_features().avx512_bf16) GTEST_SKIP() << "no AMX here";
  in_a_process_of_its_own([] {
    unsetenv("GRAFT_CPU");
    EXPECT_EQ(use("packed products").chosen, "amx");
    EXPECT_EQ(use("attention").chosen, "amx");
    EXPECT_EQ(use("attention").why, "amx_bf16 and avx512_bf16 present");
  });
}

TEST(KernelList, DotProductsRunWhereTheProcessorHasNoTiles) {
  if (processor_features().amx_bf16 || !processor_features().avx512_bf16) GTEST_SKIP() << "AMX or no AVX512-BF16 here";
  in_a_process_of_its_own([] {
    unsetenv("GRAFT_CPU");
    for (const auto* kernel : {"packed products", "attention", "head and loss"}) {
      EXPECT_EQ(use(kernel).chosen, "avx512_bf16");
      EXPECT_EQ(use(kernel).why, "this processor has no amx_bf16");
    }
  });
}

TEST(KernelList, ProductsOnAvx2RunWhereTheProcessorHasNothingWider) {
  if (!processor_features().avx2 || processor_features().avx512) GTEST_SKIP() << "no AVX2, or AVX-512 besides";
  in_a_process_of_its_own([] {
    unsetenv("GRAFT_CPU");
    for (const auto* kernel : {"packed products", "attention", "head and loss"}) EXPECT_EQ(use(kernel).chosen, "avx2") << kernel;
    EXPECT_TRUE(bfloat16_pays());
    EXPECT_FALSE(has_fast_bfloat16());
  });
}

TEST(KernelList, LibTorchKeepsTheWiderVectorsThatTheEnvironmentForbidsUs) {
  if (!processor_features().avx512) GTEST_SKIP() << "no AVX-512 here";
  in_a_process_of_its_own([] {
    setenv("GRAFT_CPU", "avx2", 1);
    for (const auto* kernel : {"packed products", "attention", "head and loss"}) EXPECT_EQ(use(kernel).chosen, "LibTorch") << kernel;
    EXPECT_FALSE(bfloat16_pays());
  });
}

TEST(KernelList, LibTorchKeepsTheMatrixUnitsThatTheEnvironmentForbidsUs) {
  if (!processor_features().amx_bf16) GTEST_SKIP() << "no AMX here";
  in_a_process_of_its_own([] {
    setenv("GRAFT_CPU", "avx512", 1);
    EXPECT_EQ(use("packed products").chosen, "LibTorch");
    EXPECT_EQ(use("packed products").why, "GRAFT_CPU=avx512");
  });
}

TEST(KernelList, TheEnvironmentLimitsAndIsNamed) {
  in_a_process_of_its_own([] {
    setenv("GRAFT_CPU", "generic", 1);
    expect_nothing_special("GRAFT_CPU=generic");
  });
}

TEST(KernelChoiceTest, ReferenceLimitsWhateverTheEnvironmentSays) {
  in_a_process_of_its_own([] {
    setenv("GRAFT_CPU", "amx", 1);
    choose_kernels(KernelChoice::kReference);
    EXPECT_EQ(name_of(chosen_kernels()), "reference");
    EXPECT_FALSE(has_fast_bfloat16());
    expect_nothing_special("--kernels reference");
  });
}

TEST(KernelChoiceTest, AChoiceThatComesTooLateIsRefused) {
  in_a_process_of_its_own([] {
    unsetenv("GRAFT_CPU");
    choose_kernels(KernelChoice::kReference);
    choose_kernels(KernelChoice::kAuto);  // nothing has read it yet
    EXPECT_EQ(cpu_features().avx2, processor_features().avx2);
    EXPECT_NO_THROW(choose_kernels(KernelChoice::kCpu)) << "runs the same variants";
    EXPECT_THROW(choose_kernels(KernelChoice::kReference), Unavailable);
    EXPECT_EQ(name_of(chosen_kernels()), "cpu");
  });
}

}  // namespace
}  // namespace graft::kernels
