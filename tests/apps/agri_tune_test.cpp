#include "apps/agri_tune/agri_tune.h"

#include <gmock/gmock.h>

#include <cmath>
#include <csignal>
#include <iostream>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>
#include <thread>

#include "tests/apps/agri_tune_fixture.h"
#include "tests/support/temp_dir.h"

namespace graft::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

class AgriTune : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new TempDir;
    TinyFolder{}.write(*shared_ / "model");
    write_rows(*shared_ / "train.jsonl", 0, 24);
    write_rows(*shared_ / "held_out.jsonl", 100, 4);
  }
  static void TearDownTestSuite() { delete shared_; }

  static std::string at(const std::string& name) { return (*shared_ / name).string(); }
  std::string mine(const std::string& name) const { return (folder_ / name).string(); }

  Outcome train(const std::string& run, const Words& more = {}) const {
    return agri_tune(Words{"train", "--model", at("model"), "--data", at("train.jsonl"), "--out", mine(run)} + quick_settings() + more);
  }
  fs::path trained(const std::string& run, const Words& more = {}) const {
    const auto outcome = train(run, more);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return mine(run);
  }
  Outcome on_model(const std::string& command, const Words& more) const {
    return agri_tune(Words{command, "--model", at("model"), "--set", "run.threads=1", "--set", "base.dtype=fp32"} + more);
  }

  TempDir folder_;

 private:
  static TempDir* shared_;
};
TempDir* AgriTune::shared_ = nullptr;

// ---- training ---------------------------------------------------------------------------------------------------------------------

TEST_F(AgriTune, TrainingLowersTheLossOnHeldOutRowsAndSaysSo) {
  const auto outcome = train("run", {"--eval-data", at("held_out.jsonl"), "--set", "train.max_steps=40"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto result = Json::parse(outcome.out);
  const double before = result.at("held_out").at("loss_before"), after = result.at("held_out").at("loss_after");
  // A random model is near ln 272 = 5.6 nats a byte or above; the answers are made of four sentences.
  EXPECT_GT(before, 5.0);
  EXPECT_LT(after, 0.7 * before);
  const auto lines = json_lines_of(fs::path(mine("run")) / "metrics.jsonl");
  ASSERT_EQ(lines.size(), 40u);
  EXPECT_LT(lines.back().at("loss").get<double>(), 0.7 * lines.front().at("loss").get<double>());
}

TEST_F(AgriTune, RunFolderHoldsEverythingThatIsPromised) {
  const auto run = trained("run", {"--eval-data", at("held_out.jsonl")});
  for (const char* name : {"config.yaml", "manifest.json", "metrics.jsonl", "adapter_config.json", "adapter_model.safetensors", "report.html"})
    EXPECT_GT(fs::file_size(run / name), 0u) << name;
  const auto manifest = json_of(run / "manifest.json");
  for (const char* key : {"run_id", "started_at", "command_line", "seed", "model", "data", "build", "machine", "base_fingerprint"})
    EXPECT_TRUE(manifest.contains(key)) << key;
  EXPECT_EQ(manifest.at("seed"), 42);
  EXPECT_EQ(manifest.at("data").size(), 2u);
  EXPECT_EQ(manifest.at("data").at(0).at("sha256").get<std::string>().size(), 64u);
  for (const char* key : {"commit", "libtorch", "compiler"}) EXPECT_FALSE(manifest.at("build").at(key).get<std::string>().empty()) << key;
  for (const auto& line : json_lines_of(run / "metrics.jsonl")) {
    for (const char* key : {"step", "loss", "learning_rate", "tokens_per_second", "peak_memory_bytes"})
      EXPECT_TRUE(line.at(key).is_number()) << key;
    EXPECT_TRUE(std::isfinite(line.at("loss").get<double>()));
  }
}

TEST_F(AgriTune, ReportLoadsNothingFromAnywhere) {
  const auto html = read_text(trained("run", {"--eval-data", at("held_out.jsonl")}) / "report.html");
  const std::regex loads(R"re((src|href|srcset|data|action)\s*=\s*["']?\s*(https?:)?//|url\(\s*["']?(https?:)?//|@import|<link)re",
                         std::regex::icase);
  std::smatch found;
  EXPECT_FALSE(std::regex_search(html, found, loads)) << found.str();
  for (const char* part : {"Held-out loss", "What does the", "It needs", "lora, rank 4", "6 steps of lora took the loss"}) EXPECT_THAT(html, HasSubstr(part));
}

TEST_F(AgriTune, ReportAnswersAsManyQuestionsAsWanted) {
  const auto shown = [&](const std::string& count) {
    const auto html = read_text(trained("run" + count, {"--eval-data", at("held_out.jsonl"), "--set", "run.sample_answers=" + count}) / "report.html");
    const std::regex sample(R"(<article class="sample card">)");
    return std::distance(std::sregex_iterator(html.begin(), html.end(), sample), std::sregex_iterator());
  };
  EXPECT_EQ(shown("0"), 0);
  EXPECT_EQ(shown("3"), 3);
}

TEST_F(AgriTune, SameSeedGivesTheSameNumbersAndAnotherSeedOthers) {
  const Words dropout = {"--set", "method.dropout=0.1"};
  const auto first = trained("first", dropout), second = trained("second", dropout), other = trained("other", dropout + Words{"--seed", "7"});
  EXPECT_EQ(timeless_metrics(first), timeless_metrics(second));
  EXPECT_EQ(read_text(first / "adapter_config.json"), read_text(second / "adapter_config.json"));
  EXPECT_NE(timeless_metrics(first), timeless_metrics(other));
}

TEST_F(AgriTune, ResolvedConfigStartsTheSameRunAgain) {
  const auto run = trained("run", {"--set", "train.accumulation=2", "--set", "method.targets=[q_proj, v_proj]"});
  const auto again = agri_tune({"train", "--model", at("model"), "--data", at("train.jsonl"), "--config", (run / "config.yaml").string(),
                                "--out", mine("again")});
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(read_text(run / "config.yaml"), read_text(fs::path(mine("again")) / "config.yaml"));
  EXPECT_EQ(timeless_metrics(run), timeless_metrics(mine("again")));
}

/// Sends SIGTERM to this process as soon as a run has written `lines` lines of metrics.
class StopAfter {
 public:
  StopAfter(fs::path run, size_t lines) : watcher_([this, run = std::move(run), lines] {
      while (!over_ && written(run) < lines) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (!over_) std::raise(SIGTERM);
    }) {}
  ~StopAfter() {
    over_ = true;
    watcher_.join();
  }
  StopAfter(const StopAfter&) = delete;
  StopAfter& operator=(const StopAfter&) = delete;

 private:
  static size_t written(const fs::path& run) {
    if (!fs::exists(run / "metrics.jsonl")) return 0;
    const auto text = read_text(run / "metrics.jsonl");
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }
  std::atomic<bool> over_ = false;
  std::thread watcher_;
};

void ignore_signal(int) {}

TEST_F(AgriTune, StoppedAndResumedEqualsUndisturbed) {
  const Words lively = {"--set", "train.max_steps=60", "--set", "method.dropout=0.1", "--set", "train.accumulation=2",
                        "--eval-data", at("held_out.jsonl")};
  const auto undisturbed = trained("undisturbed", lively);
  std::signal(SIGTERM, ignore_signal);  // should the signal come too late, it does not end the tests
  {
    const StopAfter stop(mine("stopped"), 5);
    const auto outcome = train("stopped", lively);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_TRUE(Json::parse(outcome.out).at("interrupted").get<bool>());
    EXPECT_THAT(outcome.err, HasSubstr("--resume"));
  }
  std::signal(SIGTERM, SIG_DFL);
  const auto steps = json_lines_of(fs::path(mine("stopped")) / "metrics.jsonl").size();
  ASSERT_GE(steps, 5u);
  ASSERT_LT(steps, 60u);
  const auto resumed = trained("stopped", lively + Words{"--resume"});
  EXPECT_EQ(timeless_metrics(undisturbed), timeless_metrics(resumed));
  EXPECT_TRUE(fs::exists(resumed / "report.html"));
}

TEST_F(AgriTune, FinishedRunResumedIsLeftAsItIs) {
  const Words evaluated = {"--eval-data", at("held_out.jsonl"), "--set", "train.evaluate_every=3"};
  const auto run = trained("run", evaluated);
  const auto metrics = read_text(run / "metrics.jsonl"), evaluations = read_text(run / "evaluations.jsonl");
  EXPECT_EQ(json_lines_of(run / "evaluations.jsonl").size(), 3u) << "before, after 3 and after 6 steps";
  trained("run", evaluated + Words{"--resume"});
  EXPECT_EQ(read_text(run / "metrics.jsonl"), metrics);
  EXPECT_EQ(read_text(run / "evaluations.jsonl"), evaluations);
}

TEST_F(AgriTune, TrainingGoesOnFromAnAdapter) {
  const auto first = trained("first", {"--set", "train.max_steps=20"});
  const auto second = trained("second", {"--init-adapter", first.string(), "--set", "train.max_steps=1"});
  const auto start = json_lines_of(first / "metrics.jsonl"), on = json_lines_of(second / "metrics.jsonl");
  EXPECT_LT(on.front().at("loss").get<double>(), 0.9 * start.front().at("loss").get<double>());
}

TEST_F(AgriTune, DryRunShowsThePlanAndLeavesNothing) {
  const auto outcome = train("run", {"--dry-run"});
  EXPECT_EQ(outcome.code, 0);
  for (const char* part : {"trainable", "weights", "adapters", "optimizer", "activations", "head"})
    EXPECT_THAT(outcome.out + outcome.err, HasSubstr(part));
  EXPECT_FALSE(fs::exists(mine("run")));
}

// ---- evaluation -------------------------------------------------------------------------------------------------------------------

TEST_F(AgriTune, EvaluatesPerplexity) {
  const auto outcome = on_model("eval", {"--data", at("held_out.jsonl"), "--task", "perplexity", "--out", mine("eval")});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto summary = json_of(fs::path(mine("eval")) / "summary.json");
  EXPECT_EQ(summary, Json::parse(outcome.out));
  const auto lines = json_lines_of(fs::path(mine("eval")) / "predictions.jsonl");
  ASSERT_EQ(lines.size(), 4u);
  double nats = 0, tokens = 0;
  for (const auto& line : lines) {
    nats += line.at("loss").get<double>() * line.at("tokens").get<double>();
    tokens += line.at("tokens").get<double>();
  }
  EXPECT_NEAR(summary.at("perplexity").get<double>(), std::exp(nats / tokens), 1e-6 * std::exp(nats / tokens));
}

TEST_F(AgriTune, EvaluatesChoices) {
  const auto data = write_choice_rows(folder_ / "choice.jsonl", 8).string();
  const auto outcome = on_model("eval", {"--data", data, "--task", "choice", "--max-new-tokens", "4", "--out", mine("eval")});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto summary = json_of(fs::path(mine("eval")) / "summary.json");
  for (const char* key : {"by_letter", "by_letter_shuffled", "by_likelihood"}) {
    EXPECT_EQ(summary.at(key).at("items"), 8) << key;
    EXPECT_TRUE(summary.at(key).contains("unparseable")) << key;
  }
  const auto lines = json_lines_of(fs::path(mine("eval")) / "predictions.jsonl");
  ASSERT_EQ(lines.size(), 8u);
  int right = 0;
  for (const auto& line : lines) right += line.at("likeliest") == line.at("gold");
  EXPECT_DOUBLE_EQ(summary.at("by_likelihood").at("accuracy").get<double>(), right / 8.0);
}

TEST_F(AgriTune, EvaluatesAnswersWithTheAdapterItTrained) {
  const auto run = trained("run", {"--set", "train.max_steps=150"});
  const Words task = {"--data", at("train.jsonl"), "--task", "answer", "--max-new-tokens", "40"};
  const auto base = on_model("eval", task + Words{"--out", mine("base")});
  const auto adapted = on_model("eval", task + Words{"--adapter", run.string(), "--out", mine("adapted")});
  ASSERT_EQ(base.code, 0) << base.err;
  ASSERT_EQ(adapted.code, 0) << adapted.err;
  const auto f1 = [](const Outcome& outcome) { return Json::parse(outcome.out).at("f1").at("mean").get<double>(); };
  EXPECT_LT(f1(base), 0.05) << "a random model hits words by chance only";
  EXPECT_GT(f1(adapted), 0.3) << adapted.out;
  const auto lines = json_lines_of(fs::path(mine("adapted")) / "predictions.jsonl");
  ASSERT_EQ(lines.size(), 24u);
  for (const char* key : {"id", "question", "gold", "answer", "exact_match", "f1", "rouge_l"}) EXPECT_TRUE(lines[0].contains(key)) << key;
}

// ---- use --------------------------------------------------------------------------------------------------------------------------

TEST_F(AgriTune, PredictsTextForAPromptAndALineForEachRow) {
  const auto text = on_model("predict", {"--prompt", "What does the wheat need?", "--max-new-tokens", "12"});
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_GT(text.out.size(), 1u);
  EXPECT_EQ(text.out.back(), '\n');
  EXPECT_EQ(text.out, on_model("predict", {"--prompt", "What does the wheat need?", "--max-new-tokens", "12"}).out);

  const auto rows = on_model("predict", {"--data", at("held_out.jsonl"), "--max-new-tokens", "3", "--temperature", "1.5", "--seed", "1"});
  ASSERT_EQ(rows.code, 0) << rows.err;
  std::istringstream lines(rows.out);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) EXPECT_THAT(Json::parse(line).at("question"), HasSubstr("What does the"));
  EXPECT_EQ(count, 4);
}

/// Gives std::cin a text while it lives.
class Typed {
 public:
  explicit Typed(const std::string& text) : text_(text), before_(std::cin.rdbuf(text_.rdbuf())) {}
  ~Typed() {
    std::cin.rdbuf(before_);
    std::cin.clear();
  }
  Typed(const Typed&) = delete;
  Typed& operator=(const Typed&) = delete;

 private:
  std::istringstream text_;
  std::streambuf* before_;
};

TEST_F(AgriTune, ChatAnswersEachLineUntilTheInputEnds) {
  const auto chat = [&](const std::string& text) {
    const Typed typed(text);
    const auto outcome = on_model("chat", {"--max-new-tokens", "6"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out;
  };
  EXPECT_EQ(chat(""), "");
  const auto one = chat("What does the rice need?\n");
  EXPECT_FALSE(one.empty());
  // A second question stands in the light of the first; /new forgets it.
  EXPECT_EQ(chat("What does the rice need?\n/new\nWhat does the rice need?\n"), one + one);
  EXPECT_TRUE(chat("What does the rice need?\nAnd the maize?\n").starts_with(one));
}

TEST_F(AgriTune, InspectAndPrepareGiveJson) {
  const auto shapes = on_model("inspect", {});
  ASSERT_EQ(shapes.code, 0) << shapes.err;
  EXPECT_EQ(Json::parse(shapes.out).at("shape").at("vocabulary"), 272);

  const auto prepared = agri_tune({"prepare", "--model", at("model"), "--data", at("train.jsonl"), "--eval-data", at("held_out.jsonl"),
                                   "--out", mine("prepared")});
  ASSERT_EQ(prepared.code, 0) << prepared.err;
  // Field 10 and the held-out field 100 are one question but for a digit.
  EXPECT_EQ(Json::parse(prepared.out).at("train_rows"), 23);
  EXPECT_EQ(json_lines_of(fs::path(mine("prepared")) / "train.jsonl").size(), 23u);
}

}  // namespace
}  // namespace graft::testing
