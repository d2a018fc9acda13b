#include "pipelines/schedule.h"

#include <gtest/gtest.h>

#include "kernels/base/error.h"
#include "pipelines/train.h"
#include "pipelines/train_config.h"

namespace graft::pipelines {
namespace {

struct Expected {
  Schedule schedule;
  double values[8];
};

// Printed by transformers 4.57.6: get_*_schedule_with_warmup(3 of 40 steps), get_last_lr() at these steps, base rate 1.
constexpr int64_t kSteps[] = {0, 1, 2, 3, 4, 20, 39, 40};
constexpr Expected kExpected[] = {
    {Schedule::kConstant, {0, 0.3333333333333333, 0.6666666666666666, 1, 1, 1, 1, 1}},
    {Schedule::kLinear,
     {0, 0.3333333333333333, 0.6666666666666666, 1, 0.972972972972973, 0.5405405405405406, 0.02702702702702703, 0}},
    {Schedule::kCosine,
     {0, 0.3333333333333333, 0.6666666666666666, 1, 0.9981987442712632, 0.5635089098734394, 0.0018012557287367392, 0}},
};

TEST(Schedule, HasTheValuesOfHuggingFace) {
  const auto warmup = warmup_steps(0.07, 40);
  ASSERT_EQ(warmup, 3);
  for (const auto& [schedule, values] : kExpected) {
    for (int i = 0; i < 8; ++i) {
      // Both compute in double; the cosine may differ by a few units in the last place.
      EXPECT_NEAR(schedule_factor(schedule, kSteps[i], warmup, 40), values[i], 1e-15)
          << enum_name(schedule) << " " << kSteps[i];
    }
  }
}

TEST(Schedule, WarmUpOffStartsAtTheFullRate) {
  EXPECT_EQ(warmup_steps(0, 1000), 0);
  for (const auto schedule : {Schedule::kConstant, Schedule::kLinear, Schedule::kCosine}) {
    EXPECT_EQ(schedule_factor(schedule, 0, 0, 10), 1.0);
  }
}

TEST(Schedule, WarmUpOfTheWholeRunDividesByNothing) {
  EXPECT_EQ(warmup_steps(1.0, 4), 4);
  EXPECT_EQ(schedule_factor(Schedule::kCosine, 3, 4, 4), 0.75);
  EXPECT_EQ(schedule_factor(Schedule::kLinear, 4, 4, 4), 0.0);
}

TEST(TrainConfig, ReadsEveryKeyAndRejectsOthers) {
  const auto config = read_config<TrainConfig>(
      ConfigNode::parse("{max_steps: 7, optimizer: sgd, momentum: 0.5, schedule: linear, clip_norm: 0}", "test"));
  EXPECT_EQ(config.max_steps, 7);
  EXPECT_EQ(config.schedule, Schedule::kLinear);
  EXPECT_EQ(train_options(config, 1).optimizer, OptimizerKind::kSgd);
  EXPECT_EQ(train_options(config, 1).momentum, 0.5);
  EXPECT_EQ(config.clip_norm, 0);
  EXPECT_NO_THROW(validate(config));
  EXPECT_THROW(read_config<TrainConfig>(ConfigNode::parse("{max_step: 7}", "test")), InvalidArgument);
  EXPECT_THROW(read_config<TrainConfig>(ConfigNode::parse("{schedule: sine}", "test")), InvalidArgument);
  EXPECT_THROW(read_config<TrainConfig>(ConfigNode::parse("{optimizer: adam}", "test")), InvalidArgument);
}

TEST(TrainConfig, NamesTheKeyThatIsOutOfRange) {
  TrainConfig config;
  config.warmup_ratio = 1.5;
  try {
    validate(config);
    FAIL() << "a warm-up longer than the run was accepted";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("train.warmup_ratio"), std::string::npos) << error.what();
  }
  for (auto break_it : std::initializer_list<void (*)(TrainConfig&)>{
           [](TrainConfig& c) { c.batch_size = 0; }, [](TrainConfig& c) { c.accumulation = 0; },
           [](TrainConfig& c) { c.learning_rate = -1; }, [](TrainConfig& c) { c.epochs = 0; },
           [](TrainConfig& c) { c.momentum = 1; },
           [](TrainConfig& c) { c.learning_rate = std::numeric_limits<double>::quiet_NaN(); }}) {
    TrainConfig broken;
    break_it(broken);
    EXPECT_THROW(validate(broken), InvalidArgument);
  }
}

TEST(TrainConfig, CountsStepsFromEpochsUnlessToldOtherwise) {
  TrainConfig config;
  config.epochs = 1.5;
  config.accumulation = 4;
  EXPECT_EQ(total_steps(config, 10), 4);  // 15 micro steps, the last step of three
  EXPECT_THROW(total_steps(config, 0), InvalidArgument);
  config.max_steps = 9;
  EXPECT_EQ(train_options(config, 10).total_steps, 9);
  EXPECT_EQ(train_options(config, 10).accumulation, 4);
}

}  // namespace
}  // namespace graft::pipelines
