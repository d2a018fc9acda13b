#include "pipelines/sgd.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "peft_core/base/files.h"
#include "tests/support/shared_data.h"

namespace graft::pipelines {
namespace {

at::Tensor leaf(at::Tensor values) { return values.detach().clone().requires_grad_(true); }

/// The gradients of tests/fixtures/sgd/make_sgd.py: multiples of 1/16.
at::Tensor gradient(int64_t count, int64_t step, int64_t phase) {
  auto values = at::empty({count}, at::kFloat);
  for (int64_t i = 0; i < count; ++i) values.data_ptr<float>()[i] = static_cast<float>((i * 7 + step * 13 + phase) % 31 - 15) / 16;
  return values;
}

class Momenta : public ::testing::TestWithParam<double> {};
INSTANTIATE_TEST_SUITE_P(WithAndWithout, Momenta, ::testing::Values(0.0, 0.9));

TEST_P(Momenta, FollowTheEquationsOver100Steps) {
  const double momentum = GetParam(), decay = 0.1;
  // Sizes around the vector width, the padding of 16 and the piece of 16384.
  std::vector<at::Tensor> tensors;
  ParameterGroup decayed{.name = "a"}, plain{.name = "b", .learning_rate_factor = 3, .weight_decay = false};
  std::vector<std::vector<double>> values, velocities;
  for (const int64_t count : {1, 15, 16, 17, 16383, 16384, 16385, 50000}) {
    tensors.push_back(leaf(at::arange(count, at::kFloat).remainder(13) / 16 - 0.4));
    (tensors.size() % 2 == 0 ? plain : decayed).parameters.emplace_back("t" + std::to_string(count), tensors.back());
    values.emplace_back(tensors.back().data_ptr<float>(), tensors.back().data_ptr<float>() + count);
    velocities.emplace_back(static_cast<size_t>(count), 0.0);
  }
  Sgd optimizer({decayed, plain}, {.momentum = momentum, .weight_decay = decay});
  for (int step = 1; step <= 100; ++step) {
    const double rate = 1e-3 / step;
    for (size_t t = 0; t < tensors.size(); ++t) {
      const auto g = gradient(tensors[t].numel(), step, static_cast<int64_t>(t));
      tensors[t].mutable_grad() = g;
      const bool is_plain = (t + 1) % 2 == 0;
      for (size_t i = 0; i < values[t].size(); ++i) {
        const double slope = 0.5 * g.data_ptr<float>()[i] + (is_plain ? 0 : decay * values[t][i]);
        velocities[t][i] = momentum * velocities[t][i] + slope;
        values[t][i] -= rate * (is_plain ? 3 : 1) * velocities[t][i];
      }
    }
    optimizer.collect_gradients();
    optimizer.update(rate, 0.5);
  }
  // Each step rounds a value below 1 by at most 2^-25 = 3e-8; a hundred such errors of changing sign stay far below their sum.
  double worst = 0;
  for (size_t t = 0; t < tensors.size(); ++t)
    for (size_t i = 0; i < values[t].size(); ++i) worst = std::max(worst, std::abs(tensors[t].data_ptr<float>()[i] - values[t][i]));
  EXPECT_LT(worst, 1e-6);
}

TEST_P(Momenta, KeepNoMoreStateThanTheyNeed) {
  const auto tensor = leaf(at::ones({3}));
  Sgd optimizer({{.name = "all", .parameters = {{"t", tensor}}}}, {.momentum = GetParam()});
  const auto states = optimizer.states();
  EXPECT_EQ(states[0].first_moment.size(), GetParam() > 0 ? 3u : 0u);
  EXPECT_TRUE(states[0].second_moment.empty());
}

void compare_with_torch(const nlohmann::json& kept, double momentum, double max_norm) {
  const auto decayed = leaf((at::arange(24, at::kFloat) / 32 - 0.25).reshape({4, 6}));
  const auto plain = leaf(at::arange(5, at::kFloat) / 8);
  Sgd optimizer({{.name = "decayed", .parameters = {{"decayed", decayed}}},
                 {.name = "plain", .parameters = {{"plain", plain}}, .learning_rate_factor = 4, .weight_decay = false}},
                {.momentum = momentum, .weight_decay = 0.1});
  // The same operations in the same order; torch's kernels may fuse a multiply and an add, so steps differ by an ulp of the value.
  const auto expect_close = [](const at::Tensor& tensor, const nlohmann::json& expected) {
    ASSERT_EQ(tensor.numel(), static_cast<int64_t>(expected.size()));
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      const double value = expected[static_cast<size_t>(i)];
      EXPECT_NEAR(tensor.data_ptr<float>()[i], value, 1e-6 * std::max(1.0, std::abs(value)));
    }
  };
  size_t compared = 0;
  for (int step = 1; step <= 100; ++step) {
    decayed.mutable_grad() = gradient(24, step, 0).reshape({4, 6});
    plain.mutable_grad() = gradient(5, step, 3);
    optimizer.collect_gradients();
    optimizer.update(0.01, clip_factor(optimizer.gradient_norm(), max_norm));
    if (compared == kept.size() || kept[compared]["step"] != step) continue;
    expect_close(decayed, kept[compared]["decayed"]);
    expect_close(plain, kept[compared]["plain"]);
    ++compared;
  }
  EXPECT_EQ(compared, kept.size());
}

TEST(Sgd, EqualsTorchOnItsFixture) {
  const auto fixture = nlohmann::json::parse(read_file(testing::source_dir() / "tests/fixtures/sgd/sgd.json"));
  compare_with_torch(fixture["momentum"], 0.9, 0);
  compare_with_torch(fixture["clipped"], 0.9, 0.5);
  compare_with_torch(fixture["plain"], 0, 0);
}

TEST(Sgd, ThreadsDoNotChangeABit) {
  const int threads = at::get_num_threads();
  std::vector<at::Tensor> results;
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    const auto tensor = leaf(at::arange(100003, at::kFloat) / 100003);
    Sgd optimizer({{.name = "all", .parameters = {{"t", tensor}}}}, {.weight_decay = 0.1});
    for (int step = 0; step < 3; ++step) {
      tensor.mutable_grad() = at::sin(tensor.detach() * 100);
      optimizer.collect_gradients();
      optimizer.update(0.1, 0.5);
    }
    EXPECT_EQ(tensor.grad().abs().sum().item<float>(), 0.0f) << "the gradients are left at 0";
    results.push_back(tensor.detach().clone());
  }
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(results[0], results[1]) && at::equal(results[0], results[2]));
}

TEST(Sgd, RebuildKeepsTheMomentumOfTensorsThatStayed) {
  const auto stays = leaf(at::ones({3})), goes = leaf(at::ones({4})), comes = leaf(at::ones({2}));
  Sgd optimizer({{.name = "all", .parameters = {{"goes", goes}, {"stays", stays}}}}, {});
  (stays.sum() * 3 + goes.sum()).backward();
  optimizer.collect_gradients();
  optimizer.update(0.1, 1);
  optimizer.rebuild({{.name = "all", .parameters = {{"stays", stays}, {"comes", comes}}}});
  EXPECT_FALSE(goes.grad().defined()) << "nobody keeps a view of the old buffer";
  const auto states = optimizer.states();
  ASSERT_EQ(states.size(), 2u);
  EXPECT_FLOAT_EQ(states[0].first_moment[2], 3);
  EXPECT_EQ(states[1].first_moment[1], 0);
  (stays.sum() + comes.sum()).backward();
  optimizer.collect_gradients();
  EXPECT_DOUBLE_EQ(optimizer.gradient_norm(), std::sqrt(5.0));
  optimizer.update(0.1, 1);
  EXPECT_FLOAT_EQ(stays[0].item<float>(), 1 - 0.1f * 3 - 0.1f * (0.9f * 3 + 1));
}

}  // namespace
}  // namespace graft::pipelines
