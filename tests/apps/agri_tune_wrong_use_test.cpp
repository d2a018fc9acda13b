#include <gmock/gmock.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "tests/apps/agri_tune_fixture.h"
#include "tests/support/temp_dir.h"

// The type of an error and its key facts are promised, the sentence is not. Each error is one line that names where and how to go on.
namespace graft::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class WrongUse : public ::testing::Test {
 protected:
  WrongUse() : data_(write_rows(folder_ / "rows.jsonl", 0, 24).string()) {}

  std::string model(const TinyFolder& tiny = {}, const std::string& name = "model") {
    return fs::exists(folder_ / name) ? (folder_ / name).string() : tiny.write(folder_ / name).string();
  }
  Outcome train_on(const std::string& model, const Words& more, const std::string& run = "run") {
    return agri_tune(Words{"train", "--model", model, "--data", data_, "--out", (folder_ / run).string()} + quick_settings() + more);
  }
  Outcome train(const Words& more) { return train_on(model(), more); }

  static void expect_error(const Outcome& outcome, int code, const Words& facts) {
    EXPECT_EQ(outcome.code, code) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    const auto line = outcome.error();
    ASSERT_FALSE(line.empty()) << "not one line of error:\n" << outcome.err;
    EXPECT_TRUE(outcome.err.ends_with(line + "\n")) << "text behind the error:\n" << outcome.err;
    for (const auto& fact : facts) EXPECT_THAT(line, HasSubstr(fact));
  }

  TempDir folder_;
  std::string data_;
};

TEST_F(WrongUse, UnknownKeyNamesTheNearest) {
  expect_error(train({"--set", "train.learning_rat=1e-3"}), 2, {"learning_rat", "learning_rate"});
  expect_error(train({"--set", "method.rnk=4"}), 2, {"rnk", "rank"});
  expect_error(train({"--set", "trian.seed=4"}), 2, {"trian", "train"});
  write_text(folder_ / "run.yaml", "train:\n  seed: 1\n  batch_sise: 2\n");
  expect_error(train({"--config", (folder_ / "run.yaml").string()}), 2, {"run.yaml", "3", "batch_sise", "batch_size"});
}

TEST_F(WrongUse, ValueOutsideItsRangeNamesKeyAndRange) {
  expect_error(train({"--set", "train.batch_size=0"}), 2, {"train.batch_size", "1"});
  expect_error(train({"--set", "train.learning_rate=fast"}), 2, {"train.learning_rate", "fast"});
  expect_error(train({"--set", "base.quantize=int3"}), 2, {"base.quantize", "nf4", "int3"});
  expect_error(train({"--set", "data.template=chatlm"}), 2, {"data.template", "chatlm", "chatml"});
  expect_error(train({"--method", "lorra"}), 2, {"lorra", "lora"});
  expect_error(train({"--set", "run.sample_answers=-1"}), 2, {"run.sample_answers", "0 to 1000", "-1"});
}

TEST_F(WrongUse, TargetThatMatchesNothingNamesWhatThereIs) {
  expect_error(train({"--set", "method.targets=[query_proj]"}), 2, {"method.targets", "query_proj", "q_proj"});
}

TEST_F(WrongUse, RankAboveTheLayersSizeNamesTheLayer) {
  expect_error(train({"--set", "method.rank=40", "--set", "method.targets=[k_proj]"}), 2, {"method.rank", "40", "32", "k_proj"});
}

TEST_F(WrongUse, AdapterOfAnotherBaseIsRefused) {
  ASSERT_EQ(train({}).code, 0);
  const auto other = model({.seed = 2}, "other"), run = (folder_ / "run").string();
  expect_error(agri_tune({"predict", "--model", other, "--adapter", run, "--prompt", "?"}), 2, {run, "base", "base.accept_other"});
  expect_error(train_on(other, {"--init-adapter", run}, "second"), 2, {run, "base", "base.accept_other"});
  EXPECT_EQ(agri_tune({"predict", "--model", other, "--adapter", run, "--prompt", "?", "--max-new-tokens", "2", "--set",
                       "base.accept_other=true"}).code, 0);
}

TEST_F(WrongUse, LossThatIsNoNumberTellsStepRateAndLastGoodState) {
  const auto outcome = train({"--set", "train.learning_rate=1e30", "--set", "train.schedule=constant", "--set", "train.warmup_ratio=0",
                              "--set", "train.save_every=1"});
  expect_error(outcome, 4, {"step 2", "learning rate 1e+30", "step 1", "state.safetensors", "train.learning_rate"});
  EXPECT_FALSE(fs::exists(folder_ / "run" / "adapter_model.safetensors")) << "an adapter of no worth was left behind";

  const auto broken = model({.spoil = [](float* values, size_t) { values[0] = std::numeric_limits<float>::quiet_NaN(); }}, "broken");
  expect_error(train_on(broken, {}, "second"), 4, {"step 1", "nan", "no checkpoint"});
}

TEST_F(WrongUse, TokenizerBeyondTheVocabularyGivesBothSizes) {
  const auto small = model({.vocabulary = 256}, "small");
  expect_error(train_on(small, {}), 2, {small, "id " + std::to_string(kTinyTokens - 1), "256"});
}

TEST_F(WrongUse, UnsupportedModelTypeListsTheSupported) {
  const auto falcon = model({.model_type = "falcon"}, "falcon");
  expect_error(train_on(falcon, {}), 2, {falcon, "falcon", "llama", "mistral", "qwen2", "qwen3"});
}

TEST_F(WrongUse, MissingFilesAreNamed) {
  const auto at = [&](const char* name) { return (folder_ / name).string(); };
  expect_error(train_on(at("nowhere"), {}), 3, {"nowhere"});
  expect_error(train({"--eval-data", at("gone.jsonl")}), 3, {"gone.jsonl"});
  expect_error(train({"--config", at("gone.yaml")}), 3, {"gone.yaml"});
  expect_error(train({"--init-adapter", at("lost")}), 3, {"lost", "adapter_config.json"});
}

TEST_F(WrongUse, RunFolderInUseIsKept) {
  ASSERT_EQ(train({}).code, 0);
  const auto before = read_text(folder_ / "run" / "metrics.jsonl");
  expect_error(train({}), 2, {(folder_ / "run").string(), "--resume"});
  EXPECT_EQ(read_text(folder_ / "run" / "metrics.jsonl"), before);
  const auto changed = train({"--resume", "--set", "method.alpha=3", "--set", "method.targets=[q_proj]"});
  expect_error(changed, 2, {"state.safetensors", "method.alpha 32", "method.alpha 3", "method.targets q_proj"});
  EXPECT_THAT(changed.error(), ::testing::Not(HasSubstr("train."))) << "what is the same is no news";
}

TEST_F(WrongUse, TooManyBadRowsStopTheRunAndNameTheFirst) {
  write_text(folder_ / "rows.jsonl", "{\"instruction\": \"a\", \"output\": \"b\"}\n{\"instruction\": \n{\"prose\": 1}\n");
  expect_error(train({}), 3, {"rows.jsonl", "2 of 3", "line 2", "data.bad_row_limit"});
}

TEST_F(WrongUse, RunThatCannotFitNamesTheSettingThatHelps) {
  // 32 million tokens in one micro step: 5 KiB of activations each with checkpointing, 3 KiB for the head.
  std::string rows, words;
  while (words.size() < (1 << 20)) words += "wheat and rice " + std::to_string(words.size()) + " ";
  for (int i = 0; i < 32; ++i)
    rows += nlohmann::json{{"instruction", "Field " + std::to_string(i)}, {"output", words}}.dump() + "\n";
  write_text(folder_ / "rows.jsonl", rows);
  expect_error(train({"--set", "train.batch_size=64", "--set", "train.max_length=2000000"}), 3,
               {"does not fit", "--set train.batch_size=", "train.accumulation="});
  EXPECT_FALSE(fs::exists(folder_ / "run"));
}

TEST_F(WrongUse, CommandLineErrorsNameTheNearest) {
  expect_error(agri_tune({"trian"}), 2, {"trian", "train"});
  expect_error(agri_tune({"train", "--modle", "x"}), 2, {"--modle", "--model"});
  expect_error(agri_tune({"train", "--data", data_, "--out", "x"}), 2, {"--model"});
  expect_error(agri_tune({"eval", "--model", "x", "--data", data_, "--out", "y", "--task", "choise"}), 2, {"choise", "choice"});
}

}  // namespace
}  // namespace graft::testing
