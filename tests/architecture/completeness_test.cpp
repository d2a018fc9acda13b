#include <gtest/gtest.h>

#include "tests/architecture/completeness_rules.h"
#include "tests/support/shared_data.h"

namespace graft::testing {
namespace {

const std::vector<SourceFile>& all_files() {
  static const auto files = read_tree(source_dir(), {"."}, {});
  return files;
}

std::vector<std::string> all_paths() {
  std::vector<std::string> paths;
  for (const auto& file : all_files()) paths.push_back(file.path);
  return paths;
}

SourceFile file_at(const std::string& path) {
  for (const auto& file : all_files()) {
    if (file.path == path) return file;
  }
  return {path, ""};
}

TEST(Completeness, EveryRegisteredMethodHasATestAndACard) {
  EXPECT_EQ(lines(incomplete_methods(file_at("peft_core/methods/builtin_methods.cpp"), all_files())), "");
}

TEST(Completeness, EverySourceIsBuilt) { EXPECT_EQ(lines(unbuilt_sources(all_files())), ""); }

TEST(Completeness, EveryFileNameSaysWhatIsInside) { EXPECT_EQ(lines(empty_words(all_paths())), ""); }

TEST(Completeness, NoFileNamesAMachineOrARegistry) { EXPECT_EQ(lines(machine_names(all_files())), ""); }

TEST(CompletenessRules, AMethodWithoutCardIsFound) {
  const SourceFile listing{"builtin_methods.cpp", "registry.add(lora_method());\n"};
  const SourceFile test{"tests/peft_core/methods/low_rank/lora_test.cpp", "TEST(Lora, IsSmall) {"}, card{"docs/methods/lora.md", ""};
  EXPECT_EQ(incomplete_methods(listing, {test, card}).size(), 0u);
  EXPECT_EQ(incomplete_methods(listing, {{test.path, "TEST(LoraPlus, IsSmall) {"}, card}).size(), 1u);
  const auto findings = incomplete_methods(listing, {test});
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0], "method lora: docs/methods/lora.md is missing");
}

TEST(CompletenessRules, AnEmptyListOfMethodsIsFound) { EXPECT_EQ(incomplete_methods({"builtin_methods.cpp", ""}, {}).size(), 1u); }

TEST(CompletenessRules, ASourceThatNobodyBuildsIsFound) {
  const SourceFile list{"kernels/nf4/CMakeLists.txt", "graft_library(graft_nf4 SOURCES nf4.cpp)"};
  EXPECT_EQ(unbuilt_sources({list, {"kernels/nf4/nf4.cpp", ""}}).size(), 0u);
  EXPECT_EQ(unbuilt_sources({list, {"kernels/nf4/f4.cpp", ""}}).size(), 1u);
  EXPECT_EQ(unbuilt_sources({list, {"kernels/gguf/nf4.cpp", ""}}).size(), 1u);
}

TEST(CompletenessRules, ATestIsNamedByTheListOfItsLevel) {
  const SourceFile list{"tests/kernels/CMakeLists.txt", "graft_test(nf4_test SOURCES nf4/nf4_test.cpp)"};
  EXPECT_EQ(unbuilt_sources({list, {"tests/kernels/nf4/nf4_test.cpp", ""}}).size(), 0u);
  EXPECT_EQ(unbuilt_sources({list, {"tests/kernels/gguf/nf4_test.cpp", ""}}).size(), 1u);
}

TEST(CompletenessRules, AWordThatSaysNothingIsFound) {
  EXPECT_EQ(empty_words({"pipelines/string_util.h", "apps/common/x.cpp", "kernels/gemm_v2.cpp"}).size(), 3u);
  EXPECT_EQ(empty_words({"pipelines/utility_function.h", "docs/news.md", "kernels/breakfast.cpp"}).size(), 0u);
}

TEST(CompletenessRules, AMachinePathIsFound) {
  const std::string place = "/ho" "me/someone/model.gguf";
  EXPECT_EQ(machine_names({{"README.md", "see " + place}}).size(), 1u);
  EXPECT_EQ(machine_names({{"README.md", "see /usr/share and models/" + place}}).size(), 0u);
}

}  // namespace
}  // namespace graft::testing
