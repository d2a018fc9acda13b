#include "pipelines/cli/app.h"

#include <gmock/gmock.h>

#include <new>
#include <sstream>

#include "kernels/base/cpu_features.h"
#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/base/log.h"
#include "pipelines/build_info.h"
#include "tests/support/temp_dir.h"

namespace graft::pipelines {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

struct Outcome {
  int exit_code;
  std::string out, err;
};

/// One application with the commands that the cases need; `seen` is what its command got.
class CliTest : public ::testing::Test {
 protected:
  Outcome run(const std::vector<std::string>& args) {
    std::ostringstream out, err;
    const int code = run_app(app(), args, out, err);
    return {code, out.str(), err.str()};
  }

  App app() {
    using enum Option;
    const auto keep = [this](const Invocation& call) { seen_ = call; };
    return {.name = "farm",
            .summary = "an application for tests",
            .commands = {{.name = "train",
                          .summary = "fit an adapter",
                          .needs = {{kModel}, {kData}, {kOut}},
                          .takes = {kMethod, kConfig, kSet, kSeed, kResume, kDryRun},
                          .run = keep,
                          .settings_help = [] { return std::string("  train.max_steps=100  steps\n"); }},
                         {.name = "predict",
                          .summary = "answer",
                          .needs = {{kModel}, {kPrompt, kData}},
                          .takes = {kMaxNewTokens, kTemperature, kTask},
                          .choices = {{kTask, {"choice", "answer"}}},
                          .run = keep,
                          .on_gpu = true},
                         {.name = "fail", .summary = "throws", .run = [this](const Invocation&) { failure_(); }},
                         {.name = "say", .summary = "writes", .run = [](const Invocation& call) {
                            log_info("working");
                            *call.out << "{\"a\":1}\n";
                          }}}};
  }

  Outcome fail_with(std::function<void()> failure) {
    failure_ = std::move(failure);
    return run({"fail"});
  }

  Invocation seen_;
  std::function<void()> failure_;
};

TEST_F(CliTest, ReadsTheSharedOptions) {
  const auto r = run({"train", "--model", "m", "--data", "a.jsonl", "b.jsonl", "--out", "run", "--resume", "--seed", "7"});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  EXPECT_EQ(seen_.model, "m");
  EXPECT_THAT(seen_.data, ElementsAre("a.jsonl", "b.jsonl"));
  EXPECT_EQ(seen_.out_dir, "run");
  EXPECT_TRUE(seen_.resume);
  EXPECT_FALSE(seen_.dry_run);
  EXPECT_EQ(seen_.seed, 7);
  EXPECT_TRUE(seen_.has(Option::kSeed));
  EXPECT_FALSE(seen_.has(Option::kMethod));
  EXPECT_THAT(r.out + r.err, IsEmpty());
}

TEST_F(CliTest, RepeatedAndJoinedSpellingsWork) {
  const auto r = run({"train", "--model=m", "--data", "a", "--data", "b", "--set", "a.b=1", "c.d=2", "--set", "e.f=3", "--out=r"});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  EXPECT_THAT(seen_.data, ElementsAre("a", "b"));
  EXPECT_THAT(seen_.settings, ElementsAre("a.b=1", "c.d=2", "e.f=3"));
}

TEST_F(CliTest, TextThatLooksLikeAListOrANumberStaysText) {
  ASSERT_EQ(run({"predict", "--model", "m", "--prompt", "[INST] a, b [/INST]", "--temperature=-1"}).exit_code, 0);
  EXPECT_EQ(seen_.prompt, "[INST] a, b [/INST]");
  EXPECT_EQ(seen_.temperature, -1.0);
  ASSERT_EQ(run({"predict", "--model", "m", "--prompt=--dashes first, \"quotes\""}).exit_code, 0);
  EXPECT_EQ(seen_.prompt, "--dashes first, \"quotes\"");
  ASSERT_EQ(run({"predict", "--model", "m", "--prompt", "-5 degrees"}).exit_code, 0);
  EXPECT_EQ(seen_.prompt, "-5 degrees");
  ASSERT_EQ(run({"predict", "--model", "m", "--prompt", ""}).exit_code, 0);
  EXPECT_EQ(seen_.prompt, "");
}

TEST_F(CliTest, ConfigFileThenMethodAndSeedThenSet) {
  graft::testing::TempDir dir;
  graft::testing::write_text(dir / "run.yaml", "method: {name: bitfit, rank: 4}\ntrain: {seed: 1, max_steps: 9}\n");
  const auto r = run({"train", "--model", "m", "--data", "d", "--out", "o", "--config", (dir / "run.yaml").string(), "--method", "lora",
                      "--seed", "5", "--set", "train.max_steps=3"});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  EXPECT_EQ(seen_.config.find("method.name")->scalar, "lora");
  EXPECT_EQ(seen_.config.find("method.rank")->scalar, "4");
  EXPECT_EQ(seen_.config.find("train.seed")->scalar, "5");
  EXPECT_EQ(seen_.config.find("train.max_steps")->scalar, "3");
  EXPECT_EQ(run({"train", "--model", "m", "--data", "d", "--out", "o", "--config", "absent.yaml"}).exit_code, 3);
}

TEST_F(CliTest, TheCommandLineIsKeptForTheManifest) {
  ASSERT_EQ(run({"predict", "--model", "m", "--prompt", "it's wet"}).exit_code, 0);
  EXPECT_EQ(seen_.command_line, "farm predict --model m --prompt 'it'\\''s wet'");
}

struct WrongUse {
  std::vector<std::string> args;
  std::vector<std::string> says;
};

TEST_F(CliTest, WrongUseIsOneLineAndExitCodeTwo) {
  const std::vector<WrongUse> cases = {
      {{}, {"needs a command"}},
      {{"trian"}, {"unknown command \"trian\"", "did you mean \"train\"", "train, predict"}},
      {{"train", "--modle", "m"}, {"--modle", "did you mean \"--model\"", "--resume"}},
      {{"train", "--modle=m"}, {"unknown option --modle", "did you mean \"--model\""}},
      {{"train", "-x"}, {"unknown option -x"}},
      {{"train", "--resume", "--resume", "--model", "m", "--data", "d", "--out", "o"}, {"--resume is given more than once"}},
      {{"train", "--prompt", "p"}, {"unknown option --prompt"}},
      {{"train", "word"}, {"word"}},
      {{"train", "--model", "m", "--out", "o"}, {"train", "needs --data FILE..."}},
      {{"predict", "--model", "m"}, {"needs --prompt TEXT or --data FILE..."}},
      {{"predict", "--model"}, {"--model needs a value"}},
      {{"predict", "--model", "m", "--model", "n", "--prompt", "p"}, {"--model is given more than once"}},
      {{"predict", "--model", "m", "--prompt", "p", "--max-new-tokens", "ten"}, {"--max-new-tokens", "whole number", "\"ten\""}},
      {{"predict", "--model", "m", "--prompt", "p", "--max-new-tokens", "1.5"}, {"whole number"}},
      {{"predict", "--model", "m", "--prompt", "p", "--temperature", "nan"}, {"--temperature", "a number"}},
      {{"predict", "--model", "m", "--prompt", "p", "--task", "choise"}, {"--task", "did you mean \"choice\""}},
      {{"say", "--kernels", "gpu"}, {"--kernels", "is \"gpu\"", "auto, reference, cpu, cuda"}},
      {{"train", "--model", "m", "--data", "d", "--out", "o", "--set", "rank"}, {"--set rank", "key=value"}},
      {{"train", "--model", "m", "--data", "d", "--out", "o", "--set", "a.b=["}, {"--set a.b=["}},
  };
  for (const auto& [args, says] : cases) {
    const auto r = run(args);
    EXPECT_EQ(r.exit_code, 2) << r.err;
    EXPECT_THAT(r.err, StartsWith("error: "));
    EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
    for (const auto& text : says) EXPECT_THAT(r.err, HasSubstr(text));
    EXPECT_THAT(r.out, IsEmpty()) << "stdout carries results only";
  }
}

TEST_F(CliTest, HelpGoesToStdout) {
  for (const auto* word : {"--help", "-h", "help"}) {
    const auto r = run({word});
    EXPECT_EQ(r.exit_code, 0);
    EXPECT_THAT(r.out, AllOf(HasSubstr("an application for tests"), HasSubstr("train"), HasSubstr("fit an adapter"), HasSubstr("predict")));
  }
  const auto r = run({"predict", "--help"});
  EXPECT_EQ(r.exit_code, 0);
  EXPECT_THAT(r.out, AllOf(HasSubstr("farm predict --model DIR|FILE.gguf (--prompt TEXT | --data FILE...)"), HasSubstr("choice, answer"),
                           HasSubstr("--max-new-tokens N"), Not(HasSubstr("--resume"))));
  EXPECT_THAT(run({"train", "--help"}).out, HasSubstr("train.max_steps=100"));
}

TEST_F(CliTest, EveryCommandTakesTheChoiceOfKernels) {
  const auto chosen = [] { return std::string(kernels::name_of(kernels::chosen_kernels())); };
  for (const std::string name : {"reference", "cpu", "auto"}) {
    EXPECT_EQ(run({"say", "--kernels", name}).exit_code, 0);
    EXPECT_EQ(chosen(), name);
  }
  run({"say", "--kernels", "reference"});
  run({"say"});
  EXPECT_EQ(chosen(), "auto") << "without the option";
  EXPECT_THAT(run({"say", "--help"}).out, HasSubstr("for checking: auto, reference, cpu, cuda"));
}

TEST_F(CliTest, CudaIsRefusedByCommandsThatCannotUseItInsteadOfFallingBack) {
  const auto r = run({"say", "--kernels", "cuda"});
  EXPECT_EQ(r.exit_code, 3);
  EXPECT_THAT(r.err, AllOf(StartsWith("error: [--kernels cuda] "), HasSubstr("--kernels auto")));
  EXPECT_THAT(r.err, AllOf(HasSubstr("'say' of farm"), HasSubstr("one of the commands predict")));
  EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1);
  EXPECT_THAT(r.out, IsEmpty());
  EXPECT_EQ(run({"predict", "--model", "m", "--prompt", "p", "--kernels", "cuda"}).exit_code, 0) << "which finds its GPU itself";
  EXPECT_EQ(seen_.kernels, "cuda");
}

TEST_F(CliTest, VersionNamesTheCommit) { EXPECT_THAT(run({"--version"}).out, ::testing::MatchesRegex("farm [0-9.]+ \\([^ ]+\\)\n")); }

TEST_F(CliTest, EveryErrorHasItsExitCode) {
  EXPECT_EQ(fail_with([] { throw InvalidArgument({.what = "a"}); }).exit_code, 2);
  EXPECT_EQ(fail_with([] { throw IoError({.what = "a"}); }).exit_code, 3);
  EXPECT_EQ(fail_with([] { throw Unavailable({.what = "a"}); }).exit_code, 3);
  EXPECT_EQ(fail_with([] { throw NumericalError({.where = "step 3", .what = "the loss is NaN"}); }).exit_code, 4);
  EXPECT_EQ(fail_with([] { throw NumericalError({.where = "step 3", .what = "the loss is NaN"}); }).err, "error: [step 3] the loss is NaN\n");
  EXPECT_EQ(fail_with([] { throw std::bad_alloc(); }).exit_code, 3);
  EXPECT_EQ(fail_with([] { throw std::runtime_error("DefaultCPUAllocator: can't allocate memory: you tried\nframe #0"); }).exit_code, 3);
  const auto bug = fail_with([] { throw std::runtime_error("shape mismatch\nframe #0: somewhere"); });
  EXPECT_EQ(bug.exit_code, 1);
  EXPECT_THAT(bug.err, AllOf(HasSubstr("shape mismatch"), Not(HasSubstr("frame"))));
  EXPECT_EQ(fail_with([] { throw 5; }).exit_code, 1);
}

TEST_F(CliTest, ResultsAndMessagesAreKeptApart) {
  const auto r = run({"say"});
  EXPECT_EQ(r.out, "{\"a\":1}\n");
  EXPECT_EQ(r.err, "working\n");
  EXPECT_EQ(run({"say", "--quiet"}).err, "");
  EXPECT_EQ(run({"say"}).err, "working\n") << "quiet ends with its call";
}

TEST_F(CliTest, AFullDiskBehindStdoutIsNoticed) {
  std::ostringstream out, err;
  out.setstate(std::ios::badbit);
  EXPECT_EQ(run_app(app(), {"say"}, out, err), 3);
}

}  // namespace
}  // namespace graft::pipelines
