#include <gtest/gtest.h>

#include "tests/architecture/layer_rules.h"

namespace graft::testing {
namespace {

SourceFile with_include(const std::string& path, const std::string& target) {
  return {path, "#pragma once\n#include " + target + "\n"};
}

size_t arrows(const std::string& path, const std::string& target) { return broken_arrows({with_include(path, target)}).size(); }
size_t libraries(const std::string& path, const std::string& target) {
  return misplaced_libraries({with_include(path, target)}).size();
}

TEST(Layers, EveryIncludeFollowsTheArrows) { EXPECT_EQ(lines(broken_arrows(cpp_files())), ""); }

TEST(Layers, EveryForeignLibraryStaysInItsFolder) { EXPECT_EQ(lines(misplaced_libraries(cpp_files())), ""); }

TEST(Layers, EveryQuotedIncludeIsAFileOfOurs) { EXPECT_EQ(lines(unknown_includes(cpp_files())), ""); }

TEST(Layers, EverySourceIncludesItsOwnHeaderFirst) { EXPECT_EQ(lines(own_header_not_first(cpp_files())), ""); }

TEST(Layers, TheTreeIsRead) {
  // Guards the three tests above: a wrong root would make them pass with nothing to look at.
  EXPECT_GT(cpp_files().size(), 100u);
  size_t includes = 0;
  for (const auto& file : cpp_files()) includes += includes_of(file).size();
  EXPECT_GT(includes, cpp_files().size());
}

TEST(LayerRules, NothingPointsUp) {
  EXPECT_EQ(arrows("kernels/nf4/nf4.cpp", "\"peft_core/base/files.h\""), 1u);
  EXPECT_EQ(arrows("peft_core/slots/frozen_linear.h", "\"pipelines/task.h\""), 1u);
  EXPECT_EQ(arrows("pipelines/train.cpp", "\"apps/agri_tune/agri_tune.h\""), 1u);
  EXPECT_EQ(arrows("peft_core/formats/gguf.cpp", "\"peft_core/slots/frozen_linear.h\""), 1u);
}

TEST(LayerRules, AnArrowMaySkipLevelsDownwards) {
  EXPECT_EQ(arrows("apps/agri_tune/agri_task.cpp", "\"kernels/base/error.h\""), 0u);
  EXPECT_EQ(arrows("pipelines/train.cpp", "\"peft_core/base/log.h\""), 0u);
  EXPECT_EQ(arrows("data_loaders/text/bpe.cpp", "\"peft_core/formats/gguf.h\""), 0u);
}

TEST(LayerRules, DataLoadersSeeNoModel) {
  EXPECT_EQ(arrows("data_loaders/text/bpe.cpp", "\"peft_core/slots/frozen_linear.h\""), 1u);
  EXPECT_EQ(arrows("data_loaders/text/bpe.cpp", "\"kernels/ops/attention_op.h\""), 1u);
}

TEST(LayerRules, MethodsAndBackbonesDoNotKnowEachOther) {
  EXPECT_EQ(arrows("peft_core/methods/low_rank/lora.cpp", "\"peft_core/backbones/decoder.h\""), 1u);
  EXPECT_EQ(arrows("peft_core/backbones/decoder.cpp", "\"peft_core/methods/low_rank/lora.h\""), 1u);
  EXPECT_EQ(arrows("peft_core/backbones/decoder.cpp", "\"peft_core/slots/linear_slot.h\""), 0u);
}

TEST(LayerRules, ApplicationsNeverSeeEachOther) {
  EXPECT_EQ(arrows("apps/agri_tune/agri_task.cpp", "\"apps/mammo_report/mammo_data.h\""), 1u);
  EXPECT_EQ(arrows("apps/agri_tune/agri_task.cpp", "\"apps/agri_tune/agri_data.h\""), 0u);
}

TEST(LayerRules, OnlyTheOperatorsOfTheKernelsSeeTorch) {
  EXPECT_EQ(libraries("kernels/ops/attention_op.cpp", "<ATen/ATen.h>"), 0u);
  EXPECT_EQ(libraries("kernels/nf4/nf4.cpp", "<ATen/ATen.h>"), 1u);
  EXPECT_EQ(libraries("peft_core/base/random.cpp", "<c10/core/Device.h>"), 1u);
  EXPECT_EQ(libraries("data_loaders/text/bpe.cpp", "<torch/types.h>"), 1u);
}

TEST(LayerRules, TheWholeOfTorchIsForSourcesOnly) {
  EXPECT_EQ(libraries("pipelines/train.h", "<torch/torch.h>"), 1u);
  EXPECT_EQ(libraries("pipelines/train.cpp", "<torch/torch.h>"), 0u);
}

TEST(LayerRules, ALibraryOutsideItsFolderIsNamed) {
  const auto findings = misplaced_libraries({with_include("apps/agri_tune/agri_tune.cpp", "<yaml-cpp/yaml.h>")});
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0], "apps/agri_tune/agri_tune.cpp:2: yaml-cpp is not visible here (yaml-cpp/yaml.h)");
}

TEST(LayerRules, AnIncludeThatNamesNoFileIsFound) {
  EXPECT_EQ(unknown_includes({with_include("kernels/nf4/nf4.cpp", "\"nf4.h\"")}).size(), 1u);
}

TEST(LayerRules, AnOwnHeaderInSecondPlaceIsFound) {
  const SourceFile header{"kernels/nf4/nf4.h", "#pragma once\n"};
  const SourceFile good{"kernels/nf4/nf4.cpp", "#include \"kernels/nf4/nf4.h\"\n#include <vector>\n"};
  const SourceFile bad{"kernels/nf4/nf4.cpp", "#include <vector>\n#include \"kernels/nf4/nf4.h\"\n"};
  EXPECT_EQ(own_header_not_first({header, good}).size(), 0u);
  EXPECT_EQ(own_header_not_first({header, bad}).size(), 1u);
}

}  // namespace
}  // namespace graft::testing
