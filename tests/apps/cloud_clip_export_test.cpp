#include <gmock/gmock.h>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "peft_core/checkpoint/adapter_files.h"
#include "peft_core/checkpoint/clip_files.h"
#include "tests/apps/cloud_clip_fixture.h"
#include "tests/support/temp_dir.h"

// export: the folder that it writes is the base with its adapter.
namespace graft::testing {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

class ExportCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    write_clouds(folder / "clouds", 1, 0, true);
    write_tiny_clip(folder / "model");
    const auto outcome = cloud_clip({"train", "--model", at("model"), "--data", at("clouds"), "--out", at("run"), "--quiet", "--set", "train.max_steps=3",
                                     "train.batch_size=6", "train.learning_rate=0.05", "train.warmup_ratio=0", "cloud.prompts=none", "input.up=z"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
  }
  /// Features of three pictures, with the run's adapter where one is named.
  static ::at::Tensor features(const fs::path& model_folder, const fs::path& adapter_folder = {}) {
    const ::at::NoGradGuard no_gradient;
    const auto files = peft::open_clip(model_folder);
    peft::ClipModel model(files.config, *files.folder.weights, {});
    std::unique_ptr<peft::Attachment> attachment;
    if (!adapter_folder.empty())
      attachment = peft::attach_adapter(peft::read_adapter(adapter_folder), model.places(), files.folder.fingerprint, false, adapter_folder.string());
    const auto side = files.config.vision.image_size;
    return model.image_features(::at::linspace(0, 1, 9 * side * side).reshape({3, 3, side, side}), {}).clone();
  }
  std::string at(const std::string& name) const { return (folder / name).string(); }

  TempDir folder;
};

TEST_F(ExportCommand, TheWrittenModelIsTheBaseWithItsAdapter) {
  const auto outcome = cloud_clip({"export", "--model", at("model"), "--adapter", at("run"), "--out", at("whole")});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto base = features(folder / "model"), adapted = features(folder / "model", folder / "run"), written = features(folder / "whole");
  const auto size = base.abs().max().item<double>();
  ASSERT_GT((adapted - base).abs().max().item<double>(), 1e-2 * size) << "the adapter has learnt nothing that a test could miss";
  // W + s B A rounded once to fp32, and sums of at most 48 products in another order, in two layers: some 100 units of 6e-8.
  EXPECT_LT((written - adapted).abs().max().item<double>(), 1e-5 * size);
  const auto report = Json::parse(outcome.out);
  EXPECT_EQ(report["method"], "lora");
  EXPECT_LT(report["max_feature_difference"].get<double>(), 1e-5 * report["largest_feature"].get<double>());
}

TEST_F(ExportCommand, TheWrittenFolderIsAModelWithItsTokenizer) {
  ASSERT_EQ(cloud_clip({"export", "--model", at("model"), "--adapter", at("run"), "--out", at("whole")}).code, 0);
  EXPECT_EQ(read_text(folder / "whole" / "tokenizer.json"), read_text(folder / "model" / "tokenizer.json"));
  const auto outcome = cloud_clip({"eval", "--model", at("whole"), "--data", at("clouds"), "--out", at("scores"), "--quiet", "--set", "input.up=z"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
}

TEST_F(ExportCommand, WrongUseHasItsExitCodeAndLeavesNoFolder) {
  EXPECT_EQ(cloud_clip({"export", "--model", at("model"), "--out", at("whole")}).code, 2) << "no adapter named";
  write_text(folder / "run" / "adapter_model.safetensors", "damaged");
  const auto damaged = cloud_clip({"export", "--model", at("model"), "--adapter", at("run"), "--out", at("whole")});
  EXPECT_EQ(damaged.code, 3);
  EXPECT_THAT(damaged.err, HasSubstr("adapter_model.safetensors"));
  EXPECT_FALSE(fs::exists(folder / "whole"));
}

TEST_F(ExportCommand, AFolderThatHoldsSomethingStaysAsItIs) {
  fs::create_directories(folder / "full");
  write_text(folder / "full" / "mine.txt", "mine");
  EXPECT_EQ(cloud_clip({"export", "--model", at("model"), "--adapter", at("run"), "--out", at("full")}).code, 2);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "full"), {}), 1);
}

}  // namespace
}  // namespace graft::testing
