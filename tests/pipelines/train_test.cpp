#include "pipelines/train.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "kernels/base/error.h"
#include "pipelines/resume.h"
#include "tests/pipelines/toy_task.h"
#include "tests/support/temp_dir.h"

namespace graft::pipelines {
namespace {

using graft::testing::ExactLog;
using graft::testing::TempDir;
using graft::testing::toy_options;
using graft::testing::ToyTask;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// The message of the error of type E that `run` throws; empty, and a failure, if it throws none.
template <class E, class Run>
std::string message_of(Run run) {
  try {
    run();
  } catch (const E& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return "";
}

/// Sum of squares over integer data: with weights in eighths and powers of two for counts, every sum is exact in fp32.
class ExactRegression : public TrainTask {
 public:
  explicit ExactRegression(std::vector<std::vector<int64_t>> rows_of_micro) : rows_(std::move(rows_of_micro)) {
    weight_.requires_grad_(true);
  }
  int64_t target_count(int64_t, int64_t micro) override {
    return static_cast<int64_t>(rows_[static_cast<size_t>(micro)].size());
  }
  MicroStep accumulate_gradients(int64_t step, int64_t micro, double loss_scale) override {
    double sum = 0;
    for (const auto row : rows_[static_cast<size_t>(micro)]) {
      const auto x = at::arange(3, at::kFloat) + static_cast<double>(row - 3);
      const auto loss = (at::dot(x, weight_) - static_cast<double>(row)).square();
      (loss * loss_scale).backward();
      sum += loss.item<double>();
    }
    const auto count = target_count(step, micro);
    return {sum, count, count * 3};
  }
  std::vector<ParameterGroup> trainable_parameters() override {
    return {{.name = "all", .parameters = {{"weight", weight_}}}};
  }
  void save(const std::string&) override {}
  at::Tensor weight_ = at::arange(3, at::kFloat) / 8;

 private:
  std::vector<std::vector<int64_t>> rows_;
};

TEST(Train, LowersTheLossAndReportsIt) {
  ToyTask task;
  ExactLog log;
  auto options = toy_options({}, 150);
  options.evaluate_every = 0;
  const auto report = train(task, options, {&log});
  EXPECT_LT(report.last_loss, 0.2 * report.first_loss);
  EXPECT_EQ(report.steps, 150);
  EXPECT_EQ(report.tokens, 150 * 2 * 8 * 4);
  EXPECT_FALSE(report.interrupted);
  ASSERT_EQ(log.records.size(), 150u);
  const auto& last = log.records.back();
  EXPECT_EQ(last.step, 150);
  EXPECT_EQ(last.targets, 16);
  EXPECT_GT(last.tokens_per_second, 0);
  EXPECT_GT(last.peak_memory_bytes, 10'000'000);  // LibTorch alone is larger
  EXPECT_LT(last.peak_memory_bytes, 1LL << 40);
}

TEST(Train, TwoRunsGiveTheSameBits) {
  EXPECT_EQ(graft::testing::undisturbed_lines(64, 20), graft::testing::undisturbed_lines(64, 20));
}

TEST(Train, AccumulatedMicroStepsEqualOneLargeBatch) {
  std::vector<at::Tensor> weights;
  std::vector<ExactLog> logs(3);
  const std::vector<std::vector<std::vector<int64_t>>> splits = {
      {{1, 2, 3, 4, 5, 6, 7, 8}}, {{1, 2}, {3, 4}, {5, 6}, {7, 8}}, {{1}, {2, 3, 4, 5, 6, 7, 8}}};
  for (size_t i = 0; i < splits.size(); ++i) {
    ExactRegression task(splits[i]);
    auto options = toy_options({}, 1);
    options.accumulation = static_cast<int64_t>(splits[i].size());
    train(task, options, {&logs[i]});
    weights.push_back(task.weight_.detach().clone());
  }
  EXPECT_TRUE(at::equal(weights[0], weights[1]));
  EXPECT_TRUE(at::equal(weights[0], weights[2])) << "micro steps of unequal size count by their targets";
  EXPECT_EQ(logs[0].lines, logs[1].lines);
  EXPECT_EQ(logs[0].lines, logs[2].lines);
}

TEST(Train, RecordsTheRateThatTheStepUsed) {
  ToyTask task;
  ExactLog log;
  auto options = toy_options({}, 10);
  options.schedule = Schedule::kLinear;
  options.warmup_ratio = 0.2;
  train(task, options, {&log});
  std::vector<double> rates;
  for (const auto& record : log.records) rates.push_back(record.learning_rate / 0.02);
  EXPECT_EQ(rates[0], 0);
  EXPECT_DOUBLE_EQ(rates[1], 0.5);
  EXPECT_DOUBLE_EQ(rates[2], 1);
  EXPECT_DOUBLE_EQ(rates[9], 0.125);
  EXPECT_EQ(log.evaluated, (std::vector<int64_t>{4, 8}));
}

TEST(Train, RateZeroChangesNothing) {
  ToyTask task;
  const auto before = task.first_.detach().clone();
  auto options = toy_options({}, 3);
  options.learning_rate = 0;
  train(task, options);
  EXPECT_TRUE(at::equal(before, task.first_));
}

TEST(Train, ClippingChangesTheRunAndZeroTurnsItOff) {
  const auto last_loss = [](double clip) {
    ToyTask task;
    auto options = toy_options({}, 6);
    options.clip_norm = clip;
    return train(task, options).last_loss;
  };
  EXPECT_EQ(last_loss(0), last_loss(1e9));
  EXPECT_NE(last_loss(0), last_loss(1e-7));  // so short that epsilon counts
}

TEST(Train, StopsAtALossThatIsNoNumber) {
  class Breaks : public ToyTask {
   public:
    MicroStep accumulate_gradients(int64_t step, int64_t micro, double scale) override {
      auto part = ToyTask::accumulate_gradients(step, micro, scale);
      if (step == 7) part.loss_sum = std::numeric_limits<double>::quiet_NaN();
      return part;
    }
  } task;
  const TempDir dir;
  const auto text = message_of<NumericalError>([&] { train(task, toy_options(dir.path())); });
  EXPECT_THAT(text, AllOf(HasSubstr("step 8"), HasSubstr("nan"), HasSubstr("learning rate 0.00"),
                          HasSubstr("step 6 in"), HasSubstr(checkpoint_file(dir.path()).string())));
  EXPECT_EQ(task.saves_, 0);
}

TEST(Train, StopsAtAGradientThatIsInfinite) {
  ToyTask task;
  task.before_micro = [&](int64_t step, int64_t micro) {
    if (step == 2 && micro == 0) task.first_.mutable_grad()[0][0] = std::numeric_limits<float>::infinity();
  };
  const auto before = [&] { train(task, toy_options()); };
  EXPECT_THAT(message_of<NumericalError>(before),
              AllOf(HasSubstr("step 3"), HasSubstr("norm"), HasSubstr("inf"), HasSubstr("no checkpoint")));
  EXPECT_TRUE(at::isfinite(task.first_).all().item<bool>()) << "the bad gradient reached the weights";
}

/// A tensor that the loss does not see, or only times zero.
class HasIdlePart : public ToyTask {
 public:
  explicit HasIdlePart(bool in_graph) : in_graph_(in_graph) { idle_.requires_grad_(true); }
  std::vector<ParameterGroup> trainable_parameters() override {
    auto groups = ToyTask::trainable_parameters();
    groups.push_back({.name = "idle", .parameters = {{"layers.3.idle", idle_}}});
    return groups;
  }
  MicroStep accumulate_gradients(int64_t step, int64_t micro, double scale) override {
    if (in_graph_) (idle_.sum() * 0).backward();
    return ToyTask::accumulate_gradients(step, micro, scale);
  }
  at::Tensor idle_ = at::ones({5});

 private:
  bool in_graph_;
};

TEST(Train, NamesTrainableTensorsWithoutGradient) {
  HasIdlePart task(false);
  const auto text = message_of<NumericalError>([&] { train(task, toy_options()); });
  EXPECT_THAT(text, AllOf(HasSubstr("step 1"), HasSubstr("layers.3.idle")));
}

TEST(Train, NamesTrainableTensorsWhoseGradientStaysZero) {
  HasIdlePart task(true);
  const auto text = message_of<NumericalError>([&] { train(task, toy_options()); });
  EXPECT_THAT(text, AllOf(HasSubstr("step 2"), HasSubstr("layers.3.idle"), ::testing::Not(HasSubstr("layer.first"))));
  auto options = toy_options();
  options.require_nonzero_gradients = false;
  HasIdlePart allowed(true);
  EXPECT_NO_THROW(train(allowed, options));
}

TEST(Train, AStartAtZeroWithWarmUpIsNoIdleTensor) {
  ToyTask task;  // its first matrix has a gradient of zeros until the second one has moved, which the warm-up delays
  auto options = toy_options({}, 10);
  options.warmup_ratio = 0.3;
  EXPECT_NO_THROW(train(task, options));
}

TEST(Train, FailsIfAFrozenTensorChanges) {
  for (const int64_t when : {0, 9}) {
    ToyTask task;
    task.before_micro = [&](int64_t step, int64_t) {
      if (step == when) task.frozen_[2][1] += 0.01;
    };
    EXPECT_THAT(message_of<NumericalError>([&] { train(task, toy_options()); }), HasSubstr("frozen"));
  }
}

TEST(Train, ParametersThatAMethodReplacesAreTrainedOn) {
  class Grows : public ToyTask {
   public:
    bool after_step(int64_t step) override {
      if (step != 3) return false;
      first_ = at::cat({first_.detach(), at::ones({4, 4}) * 0.1}).requires_grad_(true);
      second_ = at::cat({second_.detach(), at::zeros({1, 4})}, 1).requires_grad_(true);
      return true;
    }
  } task;
  const auto report = train(task, toy_options({}, 40));
  EXPECT_EQ(task.second_.size(1), 20);
  EXPECT_GT(task.second_.narrow(1, 16, 4).abs().min().item<float>(), 0.0f);
  EXPECT_LT(report.last_loss, report.first_loss);
}

TEST(Train, RefusesAStepWithoutTargets) {
  class Empty : public ToyTask {
    int64_t target_count(int64_t step, int64_t) override { return step == 1 ? 0 : 8; }
  } task;
  EXPECT_THAT(message_of<InvalidArgument>([&] { train(task, toy_options()); }), HasSubstr("step 2"));
}

TEST(Train, ASignalEndsTheRunAfterItsStepWithEverythingSaved) {
  for (const int number : {SIGINT, SIGTERM}) {
    const TempDir dir;
    ToyTask task;
    ExactLog log;
    task.before_micro = [&](int64_t step, int64_t micro) {
      if (step == 4 && micro == 0) ::raise(number);
    };
    const auto report = train(task, toy_options(dir.path()), {&log});
    EXPECT_TRUE(report.interrupted);
    EXPECT_EQ(report.steps, 5);
    EXPECT_EQ(log.lines.size(), 5u);
    EXPECT_EQ(task.saves_, 1);

    ToyTask again;
    auto options = toy_options(dir.path());
    options.resume = true;
    const auto rest = train(again, options, {&log});
    EXPECT_EQ(rest.first_step, 6);
    EXPECT_EQ(rest.steps, 12);
    EXPECT_EQ(log.lines, graft::testing::undisturbed_lines(16, 12));
  }
}

TEST(Train, SignalHandlersAreAsBeforeAfterwards) {
  struct sigaction mine {
  }, now{};
  mine.sa_handler = [](int) {};
  ::sigaction(SIGTERM, &mine, nullptr);
  ToyTask task;
  train(task, toy_options({}, 2));
  ::sigaction(SIGTERM, nullptr, &now);
  EXPECT_EQ(now.sa_handler, mine.sa_handler);
  ::signal(SIGTERM, SIG_DFL);
}

}  // namespace
}  // namespace graft::pipelines
