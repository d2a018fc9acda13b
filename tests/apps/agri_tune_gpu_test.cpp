#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/apps/agri_tune_fixture.h"
#include "tests/support/pretend_device.h"
#include "tests/support/temp_dir.h"

// The commands with --kernels cuda, on the pretend device, beside the same without.
namespace graft::testing {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

class AgriTuneOnGpu : public ::testing::Test {
 protected:
  AgriTuneOnGpu() {
    TinyFolder{}.write(folder_ / "model");
    write_rows(folder_ / "train.jsonl", 0, 24);
    write_rows(folder_ / "held_out.jsonl", 100, 4);
  }

  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  /// The command's run, with a launch of one of our kernels where it is to compute on the GPU.
  Outcome run(const std::string& command, const std::string& kernels, const Words& more) const {
    const auto before = pretend_launches();
    auto outcome = agri_tune(Words{command, "--model", at("model"), "--kernels", kernels, "--set", "run.threads=1", "--set", "base.dtype=fp32"} + more);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(pretend_launches() > before, kernels == "cuda");
    return outcome;
  }
  Outcome train(const std::string& kernels, const std::string& out, const Words& more = {}) const {
    return run("train", kernels, Words{"--data", at("train.jsonl"), "--eval-data", at("held_out.jsonl"), "--out", at(out)} + quick_settings() + more);
  }
  std::vector<double> losses(const std::string& out) const {
    std::vector<double> all;
    for (const auto& line : json_lines_of(folder_ / out / "metrics.jsonl")) all.push_back(line.at("loss").get<double>());
    return all;
  }

  TempDir folder_;
};

/// A loss of some 5 nats is a mean of sums of fp32 in another order: 2^-20 of it, and Adam's first steps, which divide a gradient by its own
/// size, let a difference grow by the number of steps.
constexpr double kLossTolerance = 1e-3;

TEST_F(AgriTuneOnGpu, TrainingGivesTheLossesOfTheProcessor) {
  const Words settings = {"--set", "method.dropout=0.1", "--set", "train.max_steps=6", "--set", "train.accumulation=2"};
  train("cpu", "here", settings), train("cuda", "there", settings);
  const auto here = losses("here"), there = losses("there");
  ASSERT_EQ(here.size(), there.size());
  for (size_t i = 0; i < here.size(); ++i) EXPECT_NEAR(there[i], here[i], kLossTolerance) << "step " << i + 1;
  EXPECT_LT(there.back(), there.front());
  const auto machine = [&](const char* run) { return json_of(folder_ / run / "manifest.json").at("machine"); };
  EXPECT_EQ(machine("there").at("device"), pretend_device().str());
  EXPECT_EQ(machine("there").at("kernels"), "cuda");
  EXPECT_EQ(machine("here").at("device"), "cpu");
}

TEST_F(AgriTuneOnGpu, EveryKindOfBaseAndCheckpointingTrains) {
  for (const Words& settings : {Words{"--set", "base.quantize=nf4"}, Words{"--set", "base.compute=bf16"}, Words{"--set", "train.checkpointing=on"},
                                Words{"--set", "train.optimizer=sgd", "--set", "train.momentum=0.9"}}) {
    const auto outcome = train("cuda", "run" + settings.back(), settings);
    EXPECT_THAT(outcome.err, ::testing::HasSubstr("memory plan of the GPU"));
    const auto all = losses("run" + settings.back());
    EXPECT_LT(all.back(), all.front()) << settings.back();
  }
}

TEST_F(AgriTuneOnGpu, ItsAdapterGivesTheSameAnswersAndScoresOnTheProcessor) {
  train("cuda", "run", {"--set", "train.max_steps=20"});
  const Words answer = {"--adapter", at("run"), "--prompt", "What does the wheat of field 3 need?", "--max-new-tokens", "24"};
  EXPECT_EQ(run("predict", "cuda", answer).out, run("predict", "cpu", answer).out);
  const auto perplexity = [&](const std::string& kernels) {
    const auto outcome = run("eval", kernels, {"--adapter", at("run"), "--data", at("held_out.jsonl"), "--task", "perplexity", "--out", at("eval_" + kernels)});
    return Json::parse(outcome.out);
  };
  const auto here = perplexity("cpu"), there = perplexity("cuda");
  EXPECT_NEAR(there.at("perplexity").get<double>() / here.at("perplexity").get<double>(), 1.0, 1e-5);
}

TEST_F(AgriTuneOnGpu, SeveralAdaptersAnswerBesideEachOther) {
  train("cuda", "one", {"--set", "train.max_steps=10"}), train("cuda", "two", {"--seed", "7", "--set", "train.max_steps=10"});
  const Words answer = {"--adapters", at("one"), at("two"), "--weights", "0.7", "0.6", "--prompt", "What does the rice of field 5 need?",
                        "--max-new-tokens", "24"};
  EXPECT_EQ(run("predict", "cuda", answer).out, run("predict", "cpu", answer).out);
}

TEST_F(AgriTuneOnGpu, InspectShowsThePlanOfTheGpu) {
  const auto plan = [&](const std::string& kernels) {
    return Json::parse(agri_tune({"inspect", "--model", at("model"), "--kernels", kernels}).out).at("memory_plan_bytes");
  };
  EXPECT_NE(plan("cuda"), plan("cpu"));
  EXPECT_EQ(plan("cuda").at("second_copy"), 0);
}

}  // namespace
}  // namespace graft::testing
