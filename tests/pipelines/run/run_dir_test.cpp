#include "pipelines/run_dir.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "peft_core/base/sha256.h"
#include "tests/support/temp_dir.h"

namespace graft::pipelines {
namespace {

using ::testing::HasSubstr;

class RunDirTest : public ::testing::Test {
 protected:
  void SetUp() override { graft::testing::write_text(dir_ / "train.jsonl", "{}\n"); }
  RunFacts facts(const std::string& command_line) {
    return {.app = "agri_tune", .command_line = command_line, .seed = 7, .model = "m.gguf", .data = {dir_ / "train.jsonl"}};
  }
  nlohmann::json manifest() { return read_json_file(dir_ / "run/manifest.json"); }
  graft::testing::TempDir dir_;
};

TEST_F(RunDirTest, TheManifestSaysHowToRepeatTheRun) {
  const auto run = RunDir::open(dir_ / "run", Opening::kStart);
  run.write_manifest(facts("agri_tune train"));
  const auto m = manifest();
  EXPECT_THAT(m["run_id"].get<std::string>(), ::testing::MatchesRegex("2[0-9]{7}-[0-9]{6}-[0-9a-f]{6}"));
  EXPECT_THAT(m["started_at"].get<std::string>(), ::testing::MatchesRegex("[0-9-]+T[0-9:]+Z"));
  EXPECT_EQ(m["seed"], 7);
  EXPECT_EQ(m["command_line"], "agri_tune train");
  EXPECT_EQ(m["data"][0]["sha256"], sha256_hex("{}\n"));
  EXPECT_EQ(m["data"][0]["bytes"], 3);
  EXPECT_FALSE(m["build"]["commit"].get<std::string>().empty());
  EXPECT_FALSE(m["build"]["libtorch"].get<std::string>().empty());
  EXPECT_TRUE(m["machine"].contains("features"));
  EXPECT_EQ(m["machine"]["kernels"], "auto");
  EXPECT_GT(m["machine"]["memory_bytes"].get<int64_t>(), 0);
}

TEST_F(RunDirTest, AFolderWithARunIsRefusedUnlessResumed) {
  const auto first = RunDir::open(dir_ / "run", Opening::kStart);
  first.write_manifest(facts("first"));
  try {
    RunDir::open(dir_ / "run", Opening::kStart);
    FAIL();
  } catch (const InvalidArgument& error) {
    EXPECT_THAT(error.what(), HasSubstr("--resume"));
  }
  const auto second = RunDir::open(dir_ / "run", Opening::kResume);
  EXPECT_TRUE(second.resumed());
  EXPECT_EQ(second.run_id(), first.run_id());
  second.write_manifest(facts("second"));
  EXPECT_EQ(manifest()["command_line"], "first");
  EXPECT_EQ(manifest()["resumed"][0]["command_line"], "second");
  EXPECT_EQ(manifest()["resumed"][0]["kernels"], "auto");
}

TEST_F(RunDirTest, ResumingNothingStarts) {
  const auto run = RunDir::open(dir_ / "run", Opening::kResume);
  EXPECT_FALSE(run.resumed());
  run.write_manifest(facts("only"));
  EXPECT_FALSE(manifest().contains("resumed"));
}

TEST_F(RunDirTest, OtherFilesInTheFolderDoNotMatterButAFileInTheWayDoes) {
  std::filesystem::create_directories(dir_ / "run");
  graft::testing::write_text(dir_ / "run/notes.txt", "x");
  EXPECT_NO_THROW(RunDir::open(dir_ / "run", Opening::kStart));
  EXPECT_THROW(RunDir::open(dir_ / "train.jsonl", Opening::kStart), IoError);
  EXPECT_THROW(RunDir::open(dir_ / "train.jsonl/sub", Opening::kStart), IoError);
}

TEST_F(RunDirTest, NotesAreAddedAndReplaced) {
  const auto run = RunDir::open(dir_ / "run", Opening::kStart);
  run.write_manifest(facts("x"));
  run.note("model", {{"sha256", "abc"}});
  run.note("steps", 5);
  EXPECT_EQ(manifest()["model"]["sha256"], "abc");
  EXPECT_EQ(manifest()["steps"], 5);
  EXPECT_EQ(manifest()["seed"], 7);
}

TEST_F(RunDirTest, BrokenManifestsAndMissingDataAreNamed) {
  std::filesystem::create_directories(dir_ / "run");
  graft::testing::write_text(dir_ / "run/manifest.json", "[1]");
  EXPECT_THROW(RunDir::open(dir_ / "run", Opening::kResume), IoError);
  graft::testing::write_text(dir_ / "run/manifest.json", "{\"run_id\"");
  EXPECT_THROW(RunDir::open(dir_ / "run", Opening::kResume), IoError);
  const auto run = RunDir::open(dir_ / "other", Opening::kStart);
  auto absent = facts("x");
  absent.data = {dir_ / "absent.jsonl"};
  EXPECT_THROW(run.write_manifest(absent), IoError);
}

TEST_F(RunDirTest, WritesJsonLines) {
  const std::vector<nlohmann::ordered_json> values = {{{"b", 1}, {"a", "x\ny"}}, 5};
  write_json_lines(dir_ / "p.jsonl", values);
  EXPECT_EQ(graft::testing::read_text(dir_ / "p.jsonl"), "{\"b\":1,\"a\":\"x\\ny\"}\n5\n");
}

}  // namespace
}  // namespace graft::pipelines
