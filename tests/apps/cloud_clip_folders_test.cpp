#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "data_loaders/cloud/cloud_folder.h"
#include "data_loaders/cloud/read_cloud.h"
#include "tests/apps/cloud_clip_fixture.h"
#include "tests/support/temp_dir.h"

// shapes, prepare and export: commands that leave a folder for others to read.
namespace graft::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;
namespace fs = std::filesystem;

class FolderCommands : public ::testing::Test {
 protected:
  std::string at(const std::string& name) const { return (folder / name).string(); }
  void expect_error(const Words& words, int code, const std::string& place) const {
    const auto outcome = cloud_clip(words);
    EXPECT_EQ(outcome.code, code) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(place));
  }

  TempDir folder;
};

TEST_F(FolderCommands, ShapesAreADataFolder) {
  const auto outcome = cloud_clip({"shapes", "--classes", "tree,car", "--out", at("made"), "--seed", "3", "--set", "shapes.each=3", "shapes.points=200"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(Json::parse(outcome.out)["clouds"], 6);
  const auto data = data::labelled_clouds(folder / "made");
  EXPECT_THAT(data.classes, ElementsAre("car", "tree"));
  EXPECT_EQ(data.size(), 6);
  EXPECT_EQ(data::read_cloud(data.files[0]).size(), 200);
  ASSERT_EQ(cloud_clip({"shapes", "--classes", "tree,car", "--out", at("again"), "--seed", "3", "--set", "shapes.each=3", "shapes.points=200"}).code, 0);
  EXPECT_EQ(data::read_cloud(data::labelled_clouds(folder / "again").files[5]).points, data::read_cloud(data.files[5]).points);
}

TEST_F(FolderCommands, ShapesThatItCannotMakeAreNamed) {
  expect_error({"shapes", "--classes", "tree,carr", "--out", at("made")}, 2, "did you mean \"car\"");
  expect_error({"shapes", "--classes", "car", "--out", at("made"), "--set", "shapes.each=0"}, 2, "shapes.each");
  expect_error({"shapes", "--classes", "car", "--out", at("made"), "--set", "shape.each=1"}, 2, "shape");
  EXPECT_FALSE(fs::exists(folder / "made")) << "nothing half done is left";
}

TEST_F(FolderCommands, PrepareKeepsClassesAndThinsClouds) {
  write_clouds(folder / "raw", 1, 0, true);
  const auto outcome = cloud_clip({"prepare", "--data", at("raw"), "--out", at("ready"), "--set", "input.random=50", "input.up=z", "input.unit_sphere=true"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto before = data::labelled_clouds(folder / "raw"), after = data::labelled_clouds(folder / "ready");
  EXPECT_EQ(after.classes, before.classes);
  EXPECT_EQ(after.labels, before.labels);
  for (const auto& file : after.files) EXPECT_EQ(data::read_cloud(file).size(), 50) << file.name();
  EXPECT_TRUE(Json::parse(read_text(folder / "ready" / "prepared.json")).contains("settings"));
}

TEST_F(FolderCommands, PrepareSaysWhatItCouldNotRead) {
  write_clouds(folder / "raw", 1, 0, false);
  write_text(folder / "raw" / "broken.ply", "ply\nformat ascii 1.0\nelement vertex 5\n");
  const auto outcome = cloud_clip({"prepare", "--input", at("raw"), "--out", at("ready"), "--set", "input.up=z"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(Json::parse(outcome.out)["skipped"], 1);
  EXPECT_THAT(read_text(folder / "ready" / "prepared.json"), HasSubstr("broken.ply"));
  EXPECT_FALSE(fs::exists(folder / "ready" / "index.csv")) << "no classes are known";
}

TEST_F(FolderCommands, PrepareRefusesWhatIsNotThere) {
  expect_error({"prepare", "--input", at("nowhere"), "--out", at("ready")}, 2, "nowhere");
  expect_error({"prepare", "--out", at("ready")}, 2, "--input");
  fs::create_directories(folder / "only");
  write_text(folder / "only" / "bad.ply", "no cloud");
  expect_error({"prepare", "--input", at("only"), "--out", at("ready")}, 3, "bad.ply");
  EXPECT_FALSE(fs::exists(folder / "ready"));
}

TEST_F(FolderCommands, ExportFoldsTheAdapterIn) {
  write_tiny_clip(folder / "model");
  write_clouds(folder / "raw", 1, 0, true);
  const auto trained = cloud_clip({"train", "--model", at("model"), "--data", at("raw"), "--out", at("run"), "--quiet", "--set", "train.max_steps=3", "train.batch_size=4",
                                   "cloud.prompts=none", "input.up=z", "cloud.text=a {}.", "train.learning_rate=1e-2"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  const auto outcome = cloud_clip({"export", "--model", at("model"), "--adapter", at("run"), "--out", at("merged")});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto report = Json::parse(outcome.out);
  // Sums of fp32 in another order: the merged product against the product and the adapter's term.
  EXPECT_LT(report["max_feature_difference"].get<double>(), 1e-4 * std::max(1.0, report["largest_feature"].get<double>()));
  EXPECT_NE(read_text(folder / "merged" / "model.safetensors"), read_text(folder / "model" / "model.safetensors"));
  const auto labelled = cloud_clip({"eval", "--model", at("merged"), "--data", at("raw"), "--out", at("scores"), "--quiet", "--set", "zero_shot.text=a {}.", "input.up=z"});
  EXPECT_EQ(labelled.code, 0) << labelled.err;
}

TEST_F(FolderCommands, ExportNamesAnAdapterThatIsNotThere) {
  write_tiny_clip(folder / "model");
  const auto outcome = cloud_clip({"export", "--model", at("model"), "--adapter", at("no-run"), "--out", at("merged")});
  EXPECT_NE(outcome.code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("no-run"));
  EXPECT_FALSE(fs::exists(folder / "merged"));
}

}  // namespace
}  // namespace graft::testing
