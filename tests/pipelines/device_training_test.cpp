#include <gmock/gmock.h>

#include <csignal>

#include "kernels/base/error.h"
#include "pipelines/device.h"
#include "pipelines/optimizer.h"
#include "pipelines/sgd.h"
#include "tests/pipelines/toy_task.h"
#include "tests/support/pretend_device.h"
#include "tests/support/temp_dir.h"

// Training of what lies in a GPU's memory, on the pretend device. The optimizer's arithmetic is the processor's either way, so the same
// gradients give the same bits.
namespace graft::pipelines {
namespace {

using graft::testing::ExactLog;
using graft::testing::pretend_device;
using graft::testing::toy_options;
using graft::testing::ToyTask;

std::vector<std::string> lines_of(ToyTask& task, const TrainOptions& options) {
  ExactLog log;
  train(task, options, {&log});
  return log.lines;
}

TEST(DeviceTraining, HasTheBitsOfTheProcessorsWhereTheOperatorsHave) {
  ToyTask here, there(16, 8, pretend_device());
  EXPECT_EQ(lines_of(there, toy_options()), lines_of(here, toy_options()));
  EXPECT_TRUE(at::equal(there.first_.cpu(), here.first_));
}

TEST(DeviceTraining, AnInterruptedRunGoesOnWithTheSameBits) {
  ToyTask whole(16, 8, pretend_device());
  const auto expected = lines_of(whole, toy_options());
  const testing::TempDir folder;
  ToyTask first(16, 8, pretend_device()), second(16, 8, pretend_device());
  first.before_micro = [](int64_t step, int64_t micro) {
    if (step == 4 && micro == 0) std::raise(SIGTERM);
  };
  auto options = toy_options(folder.path());
  auto lines = lines_of(first, options);
  ASSERT_LT(lines.size(), expected.size());
  options.resume = true;
  for (const auto& line : lines_of(second, options)) lines.push_back(line);
  EXPECT_EQ(lines, expected);
  EXPECT_TRUE(at::equal(second.second_.cpu(), whole.second_.cpu()));
}

/// The file does not tell where it was made.
TEST(DeviceTraining, AStateIsTheSameFileOnBothSides) {
  const testing::TempDir here_folder, there_folder;
  ToyTask here, there(16, 8, pretend_device());
  lines_of(here, toy_options(here_folder.path())), lines_of(there, toy_options(there_folder.path()));
  const auto bytes = [](const testing::TempDir& folder) { return testing::read_text(folder / "checkpoint" / "state.safetensors"); };
  EXPECT_EQ(bytes(here_folder), bytes(there_folder));
}

TEST(DeviceTraining, WhatAMethodDoesToGradientsAndValuesBetweenStepsCounts) {
  const auto run = [](at::Device device) {
    auto leaf = at::arange(20, at::kFloat).to(device).requires_grad_();
    Sgd optimizer({{.name = "group", .parameters = {{"leaf", leaf}}}}, {.momentum = 0, .weight_decay = 0});
    for (int step = 0; step < 3; ++step) {
      (leaf * leaf).sum().backward();
      optimizer.collect_gradients();
      leaf.mutable_grad().mul_(0.5);
      optimizer.update(0.1, 1.0);
      leaf.detach().add_(1.0);
    }
    return leaf.detach().cpu();
  };
  EXPECT_TRUE(at::equal(run(pretend_device()), run(at::kCPU)));
}

TEST(DeviceTraining, LeavesInTwoMemoriesAreRefused) {
  auto here = at::ones({3}, at::kFloat).requires_grad_(), there = at::ones({3}, at::kFloat).to(pretend_device()).requires_grad_();
  EXPECT_THROW(AdamW({{.name = "group", .parameters = {{"here", here}, {"there", there}}}}, {}), InvalidArgument);
}

TEST(Device, OfKernelsIsTheGpuForCudaOnly) {
  EXPECT_EQ(device_for("cuda"), pretend_device());
  for (const auto* other : {"auto", "cpu", "reference"}) EXPECT_TRUE(device_for(other).is_cpu());
  EXPECT_GT(available_memory(pretend_device()), 0);
  EXPECT_GT(available_memory(at::kCPU), 0);
}

}  // namespace
}  // namespace graft::pipelines
