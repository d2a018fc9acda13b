#include <gtest/gtest.h>

#include "peft_core/methods/task_sequence.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"
#include "tests/support/pretend_device.h"

// What the conformance suite's few steps of a method's usual options do not come to, in a device's memory beside the processor's.
namespace graft::peft {
namespace {

using testing::adapt;
using testing::Adapted;

struct Case {
  std::string method, options;
};

const std::vector<Case> kCases = {
    {"adalora", "init_r: 6\ntarget_r: 2\ntinit: 1\ntfinal: 2\ndeltaT: 1"},
    {"na_lora", "mask_start: 2\nmask_refresh: 1\ndropout: 0.2"},
    {"na_lora", "mask: token"},
    {"na_lora", "scaled: gradient\nscaling: homogeneity\nmask_start: 1\nmask_refresh: 1"},
    {"oft", "module_dropout: 0.5"},
    {"oft", "coft: true\nuse_cayley_neumann: false"},
    {"hra", "rank: 3"},
    {"hra", "apply_gs: true"},
    {"frame", "order_start: 1\nexperts: 4"},
    {"frame", "learn_orders: false\nsides: input"},
    {"frame", "experts: 1\ntop: 1"},
    {"id_lora", "router: softmax\ndropout: 0.2"},
    {"id_lora", "router: constant\nbank: random"},
    {"lily", "routing: token"},
    {"fourierft", "n_frequency: 7"},
    {"loha", "rank_dropout: 0.5"},
    {"lokr", "rank_dropout: 0.5"},
    {"pissa", "saved_as: start"},
    {"trainable_tokens", "token_indices: [3, 5, 8]"},
};

class DeviceTraining : public ::testing::TestWithParam<Case> {};

void PrintTo(const Case& one, std::ostream* out) { *out << one.method << " with " << one.options; }

std::string name_of_case(const ::testing::TestParamInfo<Case>& info) {
  return std::to_string(info.index) + "_" + info.param.method;
}

INSTANTIATE_TEST_SUITE_P(Methods, DeviceTraining, ::testing::ValuesIn(kCases), name_of_case);

/// As in the conformance suite, and the differences of one step are in the next one's start: six steps, three bits.
constexpr double kTolerance = 0x1p-10;

void expect_the_same_run(const Adapted& here, const Adapted& there) {
  const auto batch = testing::tiny_batch();
  there.move_to(testing::pretend_device());
  const auto start = here.logits(batch);
  for (const auto* one : {&here, &there}) one->train_a_run(batch, 6);
  EXPECT_FALSE(at::equal(here.logits(batch), start));
  EXPECT_LT(testing::relative_error(there.logits(batch), here.logits(batch).to(at::kDouble)), kTolerance);
  for (const auto& [name, tensor] : there.attachment->saved_state()) {
    const auto expected = here.attachment->saved_state().at(name);
    ASSERT_EQ(tensor.sizes(), expected.sizes()) << name;
    if (tensor.numel() == 0) continue;
    EXPECT_LT((tensor.cpu() - expected).abs().max().item<double>(), kTolerance) << name;
  }
  there.move_to(at::kCPU);
  EXPECT_LT(testing::relative_error(there.logits(batch), here.logits(batch).to(at::kDouble)), kTolerance);
}

TEST_P(DeviceTraining, IsThatOfTheProcessor) {
  const auto& [method, options] = GetParam();
  expect_the_same_run(adapt(method, options), adapt(method, options));
}

TEST(DeviceTraining, OfASecondTaskOfLiteLora) {
  const auto with_two_tasks = [] {
    auto adapted = adapt("lite_lora");
    adapted.train_a_run(testing::tiny_batch(), 2);
    dynamic_cast<TaskSequence&>(*adapted.attachment).begin_task(testing::method_section("lite_lora", "selection_share: 0.5"), 5);
    return adapted;
  };
  expect_the_same_run(with_two_tasks(), with_two_tasks());
}

}  // namespace
}  // namespace graft::peft
