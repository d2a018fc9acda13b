#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::Adapted;
using testing::refusal;
using ::testing::HasSubstr;

std::map<std::string, at::Tensor> parameters_after_first_mlp(const Adapted& adapted) {
  std::map<std::string, at::Tensor> all;
  for (const auto& [name, tensor] : adapted.model->places().activations[1]->adapter()->parameters()) all[name] = tensor.detach();
  return all;
}

/// h + α y from the equations, step by step in fp64.
at::Tensor by_hand(const std::map<std::string, at::Tensor>& parameters, const at::Tensor& h, const at::Tensor& u, const std::vector<int32_t>& lengths) {
  const auto p = testing::in_float64(parameters);
  const auto a = -at::exp(p.at("hrm_log_a"));
  const auto dt = at::log1p(at::exp(p.at("hrm_log_dt"))).clamp(1e-4, 0.1);
  const auto decay = at::exp(dt * a);
  const auto b = ((decay - 1) / a).unsqueeze(1) * p.at("hrm_b");
  std::vector<at::Tensor> rows;
  int64_t row = 0;
  for (const auto length : lengths) {
    auto state = at::zeros_like(a);
    for (int32_t t = 0; t < length; ++t, ++row) {
      state = decay * state + at::mv(b, u[row].to(at::kDouble));
      rows.push_back(h[row].to(at::kDouble) + p.at("hrm_gate") * at::mv(p.at("hrm_c"), state));
    }
  }
  return at::stack(rows);
}

TEST(Hrm, IsTheStateSpaceModelBesideOrAfterTheBlock) {
  const auto h = at::randn({20, 64}), input = at::randn({20, 64});
  const std::vector<int32_t> lengths{7, 1, 12};
  for (const bool released : {true, false}) {
    const auto adapted = adapt("hrm", std::string("gate: 2\nstate_size: 5\nmode: ") + (released ? "released" : "paper"));
    const auto actual = adapted.model->places().activations[1]->forward(h, input, lengths, {}).detach();
    // Sums of 64 terms in fp32 and a transform over 32 points.
    EXPECT_LT(testing::relative_error(actual, by_hand(parameters_after_first_mlp(adapted), h, released ? input : h, lengths)), 64 * 0x1p-24);
  }
}

TEST(Hrm, StartsAsTheCodeDoes) {
  const auto p = parameters_after_first_mlp(adapt("hrm", "state_size: 4"));
  for (int64_t i = 0; i < 4; ++i) EXPECT_NEAR(std::exp(p.at("hrm_log_a")[i].item<double>()), static_cast<double>(i + 1), 1e-5);
  EXPECT_TRUE(p.at("hrm_log_dt").ge(std::log(1e-4) - 1e-5).logical_and(p.at("hrm_log_dt").le(std::log(0.1) + 1e-5)).all().item<bool>());
  EXPECT_NEAR(p.at("hrm_b").std().item<double>(), 1 / 8.0, 0.03);  // 256 draws: good to 0.0055
  EXPECT_NEAR(p.at("hrm_c").std().item<double>(), 1 / 2.0, 0.12);
  EXPECT_EQ(p.at("hrm_gate").item<double>(), 0);
}

TEST(Hrm, WithAClosedGateOnlyTheGateMovesFirst) {
  const auto adapted = adapt("hrm");
  const auto before = parameters_after_first_mlp(adapted);
  std::map<std::string, at::Tensor> start;
  for (const auto& [name, tensor] : before) start[name] = tensor.clone();
  adapted.train(testing::tiny_batch(), 1);
  for (const auto& [name, tensor] : parameters_after_first_mlp(adapted)) EXPECT_EQ(at::equal(tensor, start.at(name)), name != "hrm_gate") << name;
}

TEST(Hrm, AnsweringRemembersAcrossSteps) {
  for (const auto* mode : {"released", "paper"}) {
    const auto adapted = adapt("hrm", std::string("gate: 0.5\nafter: [attention, mlp]\nmode: ") + mode);
    const std::vector<int32_t> ids{8, 3, 77, 4, 60, 12, 9, 33}, other{5, 90, 17};
    at::NoGradGuard no_gradient;
    const auto& model = *adapted.model;
    const auto expected = model.hidden_states(TokenStream::of(ids, std::vector<int32_t>{8}), {});
    auto first = model.cache_for(8), second = model.cache_for(8);
    SequenceCache* const both[] = {&first, &second};
    // Two sequences begin together; then the first goes on, in steps of one and of several tokens.
    std::vector<int32_t> begin{8, 3};
    begin.insert(begin.end(), other.begin(), other.end());
    std::vector<at::Tensor> rows;
    rows.reserve(4);
    rows.push_back(model.extend(TokenStream::of(begin, std::vector<int32_t>{2, 3}), both).narrow(0, 0, 2));
    SequenceCache* const one[] = {&first};
    rows.push_back(model.extend(TokenStream::of(std::vector<int32_t>{77}, std::vector<int32_t>{1}), one));
    rows.push_back(model.extend(TokenStream::of(std::vector<int32_t>{4, 60, 12}, std::vector<int32_t>{3}), one));
    // A copy of a cache is a branch of its own.
    auto branch = first;
    SequenceCache* const aside[] = {&branch};
    model.extend(TokenStream::of(std::vector<int32_t>{1}, std::vector<int32_t>{1}), aside);
    rows.push_back(model.extend(TokenStream::of(std::vector<int32_t>{9}, std::vector<int32_t>{1}), one));
    EXPECT_LT(testing::relative_error(at::cat(rows), expected.narrow(0, 0, 7).to(at::kDouble)), 1e-5) << mode;  // fp32 sums of another order
  }
}

TEST(Hrm, ABegunCacheForgetsItsEarlierSequence) {
  const auto adapted = adapt("hrm", "gate: 0.5");
  at::NoGradGuard no_gradient;
  auto cache = adapted.model->cache_for(4);
  SequenceCache* const caches[] = {&cache};
  const auto tokens = TokenStream::of(std::vector<int32_t>{8, 3, 77}, std::vector<int32_t>{3});
  const auto once = adapted.model->extend(tokens, caches);
  cache.length = 0;
  EXPECT_TRUE(at::equal(adapted.model->extend(tokens, caches), once));
}

TEST(Hrm, WrongOptionsAreRefused) {
  EXPECT_THAT(refusal("hrm", "state_size: 0"), HasSubstr("method.state_size"));
  EXPECT_THAT(refusal("hrm", "mode: printed"), HasSubstr("released"));
  EXPECT_THAT(refusal("hrm", "after: [mpl]"), HasSubstr("mlp"));
}

TEST(Hrm, DecayLeavesTimeConstantsAndGatesAlone) {
  for (const auto& group : adapt("hrm").attachment->trainable())
    EXPECT_EQ(group.weight_decay, group.name == "hrm_b" || group.name == "hrm_c") << group.name;
}

}  // namespace
}  // namespace graft::peft
