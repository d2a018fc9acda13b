#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include <cstring>
#include <sstream>

#include "apps/cloud_clip/cloud_clip.h"
#include "data_loaders/cloud/cloud_folder.h"
#include "kernels/base/error.h"
#include "tests/apps/cloud_clip_fixture.h"
#include "tests/support/temp_dir.h"

namespace graft::apps {
namespace {

using graft::testing::read_text;
using graft::testing::TempDir;
using graft::testing::write_text;

class AdaptLabels : public ::testing::Test {
 protected:
  void SetUp() override {
    graft::testing::write_tiny_clip(folder / "model");
    graft::testing::write_clouds(folder / "source", 1, 0, true);
    graft::testing::write_clouds(folder / "target", 2, 0.3, false);
  }
  /// The adapter's numbers after two steps of adaptation: its file without the header, which holds the run's id.
  std::string adapted(const std::string& run) {
    std::ostringstream out, err;
    const int code = pipelines::run_app(cloud_clip(), {"adapt", "--model", folder / "model", "--source", folder / "source", "--target", folder / "target", "--out",
                                                       folder / run, "--set", "train.max_steps=2", "train.batch_size=4", "cloud.prompts=text",
                                                       "input.up=z", "run.rollback=false"}, out, err);
    EXPECT_EQ(code, 0) << err.str();
    const auto file = read_text(folder / run / "adapter_model.safetensors");
    uint64_t header = 0;
    if (file.size() < sizeof header) return "";
    std::memcpy(&header, file.data(), sizeof header);
    return file.substr(sizeof header + header);
  }

  TempDir folder;
};

TEST_F(AdaptLabels, AnIndexOfTheTargetIsNeverOpened) {
  const auto without = adapted("without");
  ASSERT_FALSE(without.empty());
  const std::string garbage = std::string("file,label\nno/such/file.xyz,\"\n") + '\0' + '\xff';
  int run = 0;
  for (const auto& index : {garbage, std::string("file,label\nscans/0.xyz,ball\n")}) {
    write_text(folder / "target" / "index.csv", index);
    EXPECT_TRUE(adapted("with" + std::to_string(++run)) == without);
  }
  // The same garbage stops whoever does open it.
  write_text(folder / "target" / "index.csv", garbage);
  EXPECT_ANY_THROW(data::labelled_clouds(folder / "target"));
}

TEST_F(AdaptLabels, AnIndexThatCannotBeReadDoesNoHarm) {
  const auto without = adapted("without");
  std::filesystem::create_directory(folder / "target" / "index.csv");  // opening it as a file fails for every user, root too
  EXPECT_TRUE(adapted("with") == without);
}

}  // namespace
}  // namespace graft::apps
