#include "pipelines/optimizer.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/files.h"
#include "tests/support/shared_data.h"

namespace graft::pipelines {
namespace {

at::Tensor leaf(at::Tensor values) { return values.detach().clone().requires_grad_(true); }

/// The gradients of tests/fixtures/adamw/make_adamw.py: multiples of 1/16.
at::Tensor gradient(int64_t count, int64_t step, int64_t phase) {
  auto values = at::empty({count}, at::kFloat);
  for (int64_t i = 0; i < count; ++i) {
    values.data_ptr<float>()[i] = static_cast<float>((i * 7 + step * 13 + phase) % 31 - 15) / 16;
  }
  return values;
}

/// The equations of the paper in double precision, one number at a time.
struct Reference {
  AdamWOptions options;
  double p, m = 0, v = 0;
  void step(double g, double rate, double decay, int t) {
    m = options.beta1 * m + (1 - options.beta1) * g;
    v = options.beta2 * v + (1 - options.beta2) * g * g;
    const double m_hat = m / (1 - std::pow(options.beta1, t)), v_hat = v / (1 - std::pow(options.beta2, t));
    p = p - rate * decay * p - rate * m_hat / (std::sqrt(v_hat) + options.epsilon);
  }
};

TEST(AdamW, FollowsTheEquationsOver100Steps) {
  // Sizes around the vector width, the padding of 16 and the piece of 16384.
  std::vector<at::Tensor> tensors;
  ParameterGroup adapters{.name = "a"}, norms{.name = "b", .learning_rate_factor = 3, .weight_decay = false};
  std::vector<std::vector<Reference>> references;
  const AdamWOptions options{.weight_decay = 0.1};
  for (const int64_t count : {1, 15, 16, 17, 16383, 16384, 16385, 50000}) {
    tensors.push_back(leaf(at::arange(count, at::kFloat).remainder(13) / 16 - 0.4));
    auto& group = tensors.size() % 2 == 0 ? norms : adapters;
    group.parameters.emplace_back("t" + std::to_string(count), tensors.back());
    references.emplace_back();
    for (int64_t i = 0; i < count; ++i) references.back().push_back({options, tensors.back().data_ptr<float>()[i]});
  }
  AdamW optimizer({adapters, norms}, options);
  for (int step = 1; step <= 100; ++step) {
    const double rate = 1e-3 / step;
    for (size_t t = 0; t < tensors.size(); ++t) {
      const auto g = gradient(tensors[t].numel(), step, static_cast<int64_t>(t));
      tensors[t].mutable_grad() = g;
      const bool is_norm = (t + 1) % 2 == 0;
      for (size_t i = 0; i < references[t].size(); ++i) {
        references[t][i].step(g.data_ptr<float>()[i], rate * (is_norm ? 3 : 1), is_norm ? 0 : 0.1, step);
      }
    }
    optimizer.collect_gradients();
    optimizer.update(rate, 1);
  }
  // Each step rounds a value below 1 by at most 2^-25 = 3e-8; a hundred such errors of changing sign stay far below
  // their sum.
  double worst = 0;
  for (size_t t = 0; t < tensors.size(); ++t) {
    for (size_t i = 0; i < references[t].size(); ++i) {
      worst = std::max(worst, std::abs(tensors[t].data_ptr<float>()[i] - references[t][i].p));
    }
  }
  EXPECT_LT(worst, 1e-6);
}

void expect_close(const at::Tensor& tensor, const nlohmann::json& expected) {
  ASSERT_EQ(tensor.numel(), static_cast<int64_t>(expected.size()));
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    const double value = expected[static_cast<size_t>(i)];
    // The same operations in the same order; torch's kernels may fuse a multiply and an add, so steps differ by an ulp
    // of the value.
    EXPECT_NEAR(tensor.data_ptr<float>()[i], value, 1e-6 * std::max(1.0, std::abs(value)));
  }
}

void compare_with_torch(const nlohmann::json& kept, double max_norm) {
  const auto decayed = leaf((at::arange(24, at::kFloat) / 32 - 0.25).reshape({4, 6}));
  const auto plain = leaf(at::arange(5, at::kFloat) / 8);
  AdamW optimizer(
      {{.name = "decayed", .parameters = {{"decayed", decayed}}},
       {.name = "plain", .parameters = {{"plain", plain}}, .learning_rate_factor = 4, .weight_decay = false}},
      {.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-6, .weight_decay = 0.1});
  size_t compared = 0;
  for (int step = 1; step <= 100; ++step) {
    decayed.mutable_grad() = gradient(24, step, 0).reshape({4, 6});
    plain.mutable_grad() = gradient(5, step, 3);
    optimizer.collect_gradients();
    const double norm = optimizer.gradient_norm();
    optimizer.update(0.01, clip_factor(norm, max_norm));
    if (compared == kept.size() || kept[compared]["step"] != step) continue;
    if (max_norm > 0) {
      EXPECT_NEAR(norm, kept[compared]["norm"].get<double>(), 1e-6 * norm);  // torch sums in fp32
    }
    expect_close(decayed, kept[compared]["decayed"]);
    expect_close(plain, kept[compared]["plain"]);
    ++compared;
  }
  EXPECT_EQ(compared, kept.size());
}

TEST(AdamW, EqualsTorchOnItsFixture) {
  const auto fixture = nlohmann::json::parse(read_file(testing::source_dir() / "tests/fixtures/adamw/adamw.json"));
  compare_with_torch(fixture["unclipped"], 0);
  compare_with_torch(fixture["clipped"], 0.5);
}

TEST(AdamW, GradientsStayInOneBufferAndAreZeroedThere) {
  const auto a = leaf(at::ones({3, 5})), b = leaf(at::ones({7}));
  AdamW optimizer({{.name = "all", .parameters = {{"a", a}, {"b", b}}}}, {});
  const void* place = nullptr;
  for (int step = 0; step < 3; ++step) {
    for (int micro = 0; micro < 2; ++micro) ((a * a).sum() + (b * 3).sum()).backward();
    optimizer.collect_gradients();
    if (step == 0) place = a.grad().data_ptr();
    EXPECT_EQ(a.grad().data_ptr(), place);
    EXPECT_EQ(b.grad()[0].item<float>(), 6.0f);
    optimizer.update(0.1, 1);
    EXPECT_EQ(a.grad().data_ptr(), place);
    EXPECT_EQ(a.grad().abs().sum().item<float>(), 0.0f);
  }
}

TEST(AdamW, ThreadsDoNotChangeABit) {
  const int threads = at::get_num_threads();
  std::vector<at::Tensor> results;
  std::vector<double> norms;
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    const auto tensor = leaf(at::arange(100003, at::kFloat) / 100003);
    AdamW optimizer({{.name = "all", .parameters = {{"t", tensor}}}}, {.weight_decay = 0.1});
    for (int step = 0; step < 3; ++step) {
      tensor.mutable_grad() = at::sin(tensor.detach() * 100);
      optimizer.collect_gradients();
      norms.push_back(optimizer.gradient_norm());
      optimizer.update(0.1, 0.5);
    }
    results.push_back(tensor.detach().clone());
  }
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(results[0], results[1]) && at::equal(results[0], results[2]));
  for (size_t i = 3; i < norms.size(); ++i) EXPECT_EQ(norms[i], norms[i % 3]);
}

TEST(AdamW, NormIsThatOfAllTensorsTogether) {
  const auto a = leaf(at::zeros({40000})), b = leaf(at::zeros({5}));
  AdamW optimizer({{.name = "all", .parameters = {{"a", a}, {"b", b}}}}, {});
  a.mutable_grad() = at::full({40000}, 0.25f);  // squares sum to 2500
  b.mutable_grad() = at::full({5}, 6.0f);       // and to 180
  optimizer.collect_gradients();
  EXPECT_DOUBLE_EQ(optimizer.gradient_norm(), std::sqrt(2680.0));
}

TEST(AdamW, KnowsWhichTensorsGotNoGradient) {
  const auto used = leaf(at::ones({3})), unused = leaf(at::ones({3})), idle = leaf(at::ones({3}));
  AdamW optimizer({{.name = "all", .parameters = {{"used", used}, {"unused", unused}, {"idle", idle}}}}, {});
  for (int step = 0; step < 2; ++step) {
    (used.sum() + (idle * 0).sum()).backward();
    optimizer.collect_gradients();
    EXPECT_EQ(optimizer.without_gradient(), std::vector<std::string>{"unused"});
    const auto idle_names = step == 0 ? std::vector<std::string>{} : std::vector<std::string>{"unused", "idle"};
    EXPECT_EQ(optimizer.with_zero_gradients_only(), idle_names);
    optimizer.update(0.1, 1);
  }
}

TEST(AdamW, RebuildKeepsMomentsOfTensorsThatStayed) {
  const auto stays = leaf(at::ones({3})), goes = leaf(at::ones({4}));
  AdamW optimizer({{.name = "all", .parameters = {{"goes", goes}, {"stays", stays}}}}, {});
  (stays.sum() + goes.sum()).backward();
  optimizer.collect_gradients();
  optimizer.update(0.1, 1);
  const auto comes = leaf(at::ones({2}));
  optimizer.rebuild({{.name = "all", .parameters = {{"stays", stays}, {"goes", comes}}}});
  const auto states = optimizer.states();
  ASSERT_EQ(states.size(), 2u);
  EXPECT_EQ(*states[0].steps, 1);
  EXPECT_FLOAT_EQ(states[0].first_moment[2], 0.1f);
  EXPECT_EQ(*states[1].steps, 0);
  EXPECT_EQ(states[1].first_moment[1], 0.0f);
  EXPECT_EQ(optimizer.parameter_count(), 5);
  (stays.sum() + comes.sum()).backward();  // the gradient goes to the new buffer
  optimizer.collect_gradients();
  EXPECT_DOUBLE_EQ(optimizer.gradient_norm(), std::sqrt(5.0));
}

TEST(AdamW, RefusesTensorsItCannotTrain) {
  const auto build = [](std::vector<std::pair<std::string, at::Tensor>> parameters) {
    AdamW optimizer({{.name = "all", .parameters = std::move(parameters)}}, {});
  };
  const auto good = leaf(at::ones({3, 2}));
  EXPECT_THROW(build({}), InvalidArgument);
  EXPECT_THROW(build({{"half", leaf(at::ones({3}, at::kBFloat16))}}), InvalidArgument);
  EXPECT_THROW(build({{"empty", leaf(at::ones({0}))}}), InvalidArgument);
  EXPECT_THROW(build({{"turned", good.detach().t().requires_grad_(true)}}), InvalidArgument);
  EXPECT_THROW(build({{"frozen", at::ones({3})}}), InvalidArgument);
  EXPECT_THROW(build({{"twice", good}, {"twice", leaf(at::ones({3}))}}), InvalidArgument);
  EXPECT_THROW(build({{"one", good}, {"other", good}}), InvalidArgument);
  EXPECT_NO_THROW(build({{"good", good}}));
}

TEST(Clipping, OnlyShortensAndCanBeOff) {
  EXPECT_EQ(clip_factor(0.5, 1.0), 1.0);
  EXPECT_DOUBLE_EQ(clip_factor(4.0, 1.0), 1.0 / (4.0 + 1e-6));
  EXPECT_EQ(clip_factor(1e30, 0.0), 1.0);
}

}  // namespace
}  // namespace graft::pipelines
