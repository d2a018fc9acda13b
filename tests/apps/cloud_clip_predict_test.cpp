#include <gmock/gmock.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data_loaders/cloud/read_cloud.h"
#include "pipelines/cloud/labelled_cloud.h"
#include "tests/apps/cloud_clip_fixture.h"
#include "tests/support/temp_dir.h"

// predict, eval and views from the command line to the files that they write.
namespace graft::testing {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;
namespace fs = std::filesystem;

std::vector<Json> lines_of(const fs::path& file) {
  std::vector<Json> lines;
  std::istringstream text(read_text(file));
  for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line));
  return lines;
}

class PredictCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    write_tiny_clip(folder / "model");
    write_clouds(folder / "clouds", 1, 0, true);
    // No user's cache may be written, and no other test's read.
    setenv("GRAFT_CACHE", (folder / "cache").c_str(), 1);
  }
  void TearDown() override { unsetenv("GRAFT_CACHE"); }

  std::string at(const std::string& name) const { return (folder / name).string(); }
  CloudClipOutcome run(Words words, const Words& settings = {}) const {
    words.insert(words.end(), {"--set", "zero_shot.text=a {}.", "zero_shot.attribute=a {} has {}", "input.up=z"});
    words.insert(words.end(), settings.begin(), settings.end());
    return cloud_clip(words);
  }
  CloudClipOutcome predict(const std::string& out, const Words& settings = {}, const std::string& input = "clouds", const std::string& classes = "ball,board,pole") const {
    return run({"predict", "--model", at("model"), "--input", at(input), "--classes", classes, "--out", at(out), "--quiet"}, settings);
  }

  TempDir folder;
};

TEST_F(PredictCommand, WritesWhatIsPromisedForEachCloud) {
  const auto outcome = predict("run", {"predict.top=2"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto lines = lines_of(folder / "run" / "predictions.jsonl");
  ASSERT_EQ(lines.size(), 6u);
  for (const auto& line : lines) {
    EXPECT_EQ(line["top"].size(), 2u);
    EXPECT_EQ(line["label"], line["top"][0]["label"]);
    EXPECT_EQ(line["probability"], line["top"][0]["probability"]);
    EXPECT_GE(line["probability"], line["top"][1]["probability"]);
    EXPECT_GE(line["kept_views"].size(), 5u);
    EXPECT_EQ(line["view_entropy"].size(), 10u);
    EXPECT_LE(line["entropy"].get<double>(), std::log(3.0) + 1e-9);
    EXPECT_TRUE(fs::exists(folder / "run" / line["sheet"].get<std::string>()));
  }
  for (const char* name : {"predictions.csv", "clouds.csv", "summary.json", "config.yaml", "manifest.json", "report.html"})
    EXPECT_GT(fs::file_size(folder / "run" / name), 0u) << name;
  EXPECT_EQ(Json::parse(outcome.out)["labelled"], 6);
  EXPECT_EQ(Json::parse(read_text(folder / "run" / "manifest.json"))["data"].size(), 6u);
}

TEST_F(PredictCommand, UnreadableFilesAreNamedWithTheirReason) {
  write_text(folder / "clouds" / "bad.ply", "ply\nformat ascii 1.0\nelement vertex 5\n");
  ASSERT_EQ(predict("run").code, 0);
  const auto skipped = lines_of(folder / "run" / "skipped.jsonl");
  ASSERT_EQ(skipped.size(), 1u);
  EXPECT_THAT(skipped[0]["file"].get<std::string>(), HasSubstr("bad.ply"));
  EXPECT_FALSE(skipped[0]["reason"].get<std::string>().empty());
  EXPECT_THAT(read_text(folder / "run" / "clouds.csv"), HasSubstr("bad.ply,no,"));
  EXPECT_THAT(read_text(folder / "run" / "report.html"), HasSubstr("bad.ply"));
}

TEST_F(PredictCommand, NothingToReadIsAnErrorOfFiles) {
  fs::create_directories(folder / "only");
  write_text(folder / "only" / "bad.ply", "no cloud");
  const auto outcome = predict("run", {}, "only");
  EXPECT_EQ(outcome.code, 3);
  EXPECT_THAT(outcome.err, HasSubstr("bad.ply"));
  EXPECT_EQ(predict("other", {}, "no-such-folder").code, 2);
}

TEST_F(PredictCommand, WrongUseHasExitCode2AndNamesItsPlace) {
  for (const auto& [setting, place] : std::map<std::string, std::string>{{"predict.nonsense=1", "nonsense"}, {"zero_shot.mode=best", "zero_shot.mode"},
                                                                         {"predict.none_below=2", "predict.none_below"}, {"zero_shot.text=thing", "zero_shot.text"}}) {
    const auto outcome = predict("run", {setting});
    EXPECT_EQ(outcome.code, 2) << setting;
    EXPECT_THAT(outcome.err, HasSubstr(place));
  }
  EXPECT_FALSE(fs::exists(folder / "run"));
}

TEST_F(PredictCommand, NoneOfTheseBelowAProbability) {
  ASSERT_EQ(predict("all", {"predict.none_below=1"}).code, 0);
  for (const auto& line : lines_of(folder / "all" / "predictions.jsonl")) {
    EXPECT_EQ(line["label"], "none of these");
    EXPECT_NE(line["top"][0]["label"], "none of these");
  }
  ASSERT_EQ(predict("entropy", {"predict.none_above_entropy=1e-9"}).code, 0);
  EXPECT_EQ(lines_of(folder / "entropy" / "predictions.jsonl")[0]["label"], "none of these");
}

TEST_F(PredictCommand, BatchesAndRunsAgree) {
  ASSERT_EQ(predict("one", {"predict.batch=1"}).code, 0);
  ASSERT_EQ(predict("four", {"predict.batch=4"}).code, 0);
  const auto one = lines_of(folder / "one" / "predictions.jsonl"), four = lines_of(folder / "four" / "predictions.jsonl");
  ASSERT_EQ(one.size(), four.size());
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i]["file"], four[i]["file"]);
    // Products of other shapes add up in another order: fp32 logits of size 100 differ by 1e-5, probabilities by less than 1e-4.
    EXPECT_NEAR(one[i]["probability"].get<double>(), four[i]["probability"].get<double>(), 1e-4);
  }
}

TEST_F(PredictCommand, FeaturesComeFromTheCacheAndADamagedOneIsMadeAnew) {
  ASSERT_EQ(predict("first").code, 0);
  const auto cached = fs::directory_iterator(folder / "cache")->path();
  const auto bytes = read_text(cached);
  ASSERT_EQ(predict("second").code, 0);
  write_text(cached, "damaged");
  ASSERT_EQ(predict("third").code, 0);
  EXPECT_EQ(read_text(cached), bytes);
  for (const char* name : {"second", "third"})
    EXPECT_EQ(read_text(folder / name / "predictions.jsonl"), read_text(folder / "first" / "predictions.jsonl")) << name;
  ASSERT_EQ(predict("other", {"zero_shot.text=the {}."}).code, 0);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "cache"), {}), 2) << "other prompts, other features";
}

TEST_F(PredictCommand, ClassesFileWithSynonymsGivesTheFirstNames) {
  write_text(folder / "classes.txt", "ball, globe: round\nboard\npole, rod\n");
  const auto outcome = run({"predict", "--model", at("model"), "--input", at("clouds"), "--classes-file", at("classes.txt"), "--out", at("run"), "--quiet"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(Json::parse(outcome.out)["classes"], Json::parse(R"(["ball","board","pole"])"));
}

TEST_F(PredictCommand, EvalCountsAsItsPredictionsSay) {
  const auto outcome = run({"eval", "--model", at("model"), "--data", at("clouds"), "--out", at("run"), "--quiet"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto summary = Json::parse(read_text(folder / "run" / "summary.json"));
  int right = 0;
  for (const auto& line : lines_of(folder / "run" / "predictions.jsonl")) right += line["label"] == line["right"] ? 1 : 0;
  EXPECT_EQ(summary["clouds"], 6);
  EXPECT_DOUBLE_EQ(summary["accuracy"], right / 6.0);
  for (const char* key : {"per_class", "ece", "confusion", "entropy", "seed", "skipped", "model"}) EXPECT_TRUE(summary.contains(key)) << key;
  for (const char* name : {"confusion.svg", "per_class.svg", "reliability.svg", "confusion.json", "report.html"}) EXPECT_GT(fs::file_size(folder / "run" / name), 0u) << name;
  EXPECT_EQ(Json::parse(read_text(folder / "run" / "manifest.json"))["data"].size(), 6u);
}

TEST_F(PredictCommand, EvalRefusesClassesThatLackOneOfTheData) {
  const auto outcome = run({"eval", "--model", at("model"), "--data", at("clouds"), "--classes", "ball,pole", "--out", at("run"), "--quiet"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("'board'"));
}

TEST_F(PredictCommand, ViewsAreTenPicturesAndASheet) {
  const auto file = fs::directory_iterator(folder / "clouds" / "ball")->path().string();
  const auto outcome = cloud_clip({"views", "--input", file, "--out", at("views")});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "views"), {}), 11);
  EXPECT_THAT(read_text(folder / "views" / "view_10.png"), HasSubstr("PNG"));
}

TEST_F(PredictCommand, PointclipsOwnProjectionHasSixViews) {
  const auto file = fs::directory_iterator(folder / "clouds" / "ball")->path().string();
  const auto outcome = cloud_clip({"views", "--input", file, "--out", at("views"), "--set", "zero_shot.projection=pointclip"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "views"), {}), 7);
  ASSERT_EQ(predict("run", {"zero_shot.projection=pointclip", "zero_shot.mode=pointclip"}).code, 0);
  for (const auto& line : lines_of(folder / "run" / "predictions.jsonl")) {
    EXPECT_EQ(line["view_entropy"].size(), 6u);
    EXPECT_EQ(line["kept_views"].size(), 6u);
  }
  EXPECT_EQ(Json::parse(read_text(folder / "run" / "summary.json"))["projection"], "pointclip");
  const auto weights = predict("none", {"zero_shot.projection=pointclip", "zero_shot.mode=pointclip_v2"});
  EXPECT_EQ(weights.code, 2);
  EXPECT_THAT(weights.err, HasSubstr("zero_shot.mode"));
}

TEST_F(PredictCommand, AnAdapterBringsItsProjectionAlong) {
  const auto trained = cloud_clip({"train", "--model", at("model"), "--data", at("clouds"), "--out", at("adapter"), "--set", "cloud.projection=pointclip",
                                   "cloud.head=pointclip_adapter", "cloud.towers=none", "cloud.prompts=none", "train.max_steps=1", "input.up=z", "cloud.text=a {}."});
  ASSERT_EQ(trained.code, 0) << trained.err;
  const auto with_adapter = [&](const std::string& command, const std::string& out, const Words& settings = {}) {
    Words words = {command, "--model", at("model"), "--adapter", at("adapter"), "--out", at(out), "--quiet"};
    const bool predicts = command == "predict";
    words.insert(words.end(), {predicts ? "--input" : "--data", at("clouds")});
    if (predicts) words.insert(words.end(), {"--classes", "ball,board,pole"});
    return run(words, settings);
  };
  for (const std::string command : {"predict", "eval"}) {
    const auto outcome = with_adapter(command, command);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(lines_of(folder / command / "predictions.jsonl")[0]["view_entropy"].size(), 6u);
    EXPECT_THAT(read_text(folder / command / "config.yaml"), HasSubstr("projection: pointclip "));
  }
  EXPECT_EQ(with_adapter("predict", "same", {"zero_shot.projection=pointclip"}).code, 0);
  const auto other = with_adapter("predict", "other", {"zero_shot.projection=pointclip_v2"});
  EXPECT_EQ(other.code, 2);
  EXPECT_THAT(other.err, HasSubstr("zero_shot.projection"));
}

/// Ground of 20 m x 20 m, and two cubes of 1 m that stand on it.
void write_scene(const fs::path& file) {
  std::ostringstream text;
  for (int i = 0; i < 40; ++i)
    for (int k = 0; k < 40; ++k) text << i * 0.5 << " " << k * 0.5 << " 0\n";
  for (const double x : {4.0, 14.0})
    for (int i = 0; i < 6; ++i)
      for (int k = 0; k < 6; ++k)
        for (int l = 0; l < 6; ++l) text << x + 0.2 * i << " " << 8 + 0.2 * k << " " << 1 + 0.2 * l << "\n";
  write_text(file, text.str());
}

TEST_F(PredictCommand, ASceneGivesItsObjectsBoxesAndALabelledCloud) {
  write_scene(folder / "street.xyz");
  const auto outcome = predict("run", {"scene.objects=true"}, "street.xyz");
  if (outcome.code == 3 && outcome.err.find("PCL") != std::string::npos) GTEST_SKIP() << "built without PCL";
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto lines = lines_of(folder / "run" / "predictions.jsonl");
  ASSERT_EQ(lines.size(), 2u);
  const auto box = lines[0]["box"];
  EXPECT_NEAR(box["high"][0].get<double>() - box["low"][0].get<double>(), 1, 1e-5);
  EXPECT_NEAR(box["low"][2].get<double>(), 1, 1e-5);
  const auto scene = Json::parse(outcome.out)["scenes"][0];
  EXPECT_EQ(scene["ground_points"], 1600);
  for (const char* key : {"labelled_ply", "labelled_pcd"}) {
    const auto cloud = data::read_cloud({folder / "run" / scene[key].get<std::string>(), -1});
    EXPECT_EQ(cloud.size(), 1600 + 2 * 216);
    EXPECT_EQ(std::count(cloud.labels.begin(), cloud.labels.end(), pipelines::kUnlabelled), 1600);
  }
}

TEST_F(PredictCommand, BoxesAndLabelledCloudsAreInTheFilesOwnCoordinates) {
  write_scene(folder / "street.xyz");
  std::ostringstream turned;  // y up: (x, y, z) of the scene stands as (x, z, -y)
  std::istringstream lines(read_text(folder / "street.xyz"));
  for (double x, y, z; lines >> x >> y >> z;) turned << x << " " << z << " " << -y << "\n";
  write_text(folder / "turned.xyz", turned.str());
  const auto outcome = predict("run", {"scene.objects=true", "input.up=y"}, "turned.xyz");
  if (outcome.code == 3 && outcome.err.find("PCL") != std::string::npos) GTEST_SKIP() << "built without PCL";
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto box = lines_of(folder / "run" / "predictions.jsonl").at(0)["box"];
  EXPECT_NEAR(box["low"][1].get<double>(), 1, 1e-5);
  EXPECT_NEAR(box["low"][2].get<double>(), -9, 1e-5);
  EXPECT_NEAR(box["high"][2].get<double>(), -8, 1e-5);
}

TEST_F(PredictCommand, OneAxisIsUpForAllAndAFewCloudsAreTakenAsTheyStand) {
  fs::create_directories(folder / "few");
  // Each cloud's ends differ along x, which would be taken for up if one cloud were asked.
  for (int n = 0; n < 3; ++n) {
    std::ostringstream text;
    for (int i = 0; i < 400; ++i) text << (i % 4 == 0 ? i * 0.01 : 4 - i * 0.001) << " " << (i * 7 % 100) * 0.01 << " " << (i * 13 % 100) * 0.01 << "\n";
    write_text(folder / "few" / (std::to_string(n) + ".xyz"), text.str());
  }
  ASSERT_EQ(predict("run", {"input.up=auto"}, "few").code, 0);
  EXPECT_THAT(read_text(folder / "run" / "clouds.csv"), HasSubstr("0.xyz,yes,400,0,z,"));
  for (int n = 3; n < 8; ++n) fs::copy_file(folder / "few" / "0.xyz", folder / "few" / (std::to_string(n) + ".xyz"));
  ASSERT_EQ(predict("eight", {"input.up=auto"}, "few").code, 0);
  EXPECT_THAT(read_text(folder / "eight" / "clouds.csv"), HasSubstr("0.xyz,yes,400,0,x,"));
}

}  // namespace
}  // namespace graft::testing
