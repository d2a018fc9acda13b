#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/methods/observed_samples.h"
#include "tests/peft_core/methods/low_rank/one_layer.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

// Methods that look at samples before they start: eva, lora_ga, astra.
namespace graft::peft {
namespace {

using testing::ChosenSamples;
using testing::OneLayer;
using testing::relative_error;
using ::testing::HasSubstr;

constexpr double kRounding = 64 * 0x1p-24;  // sums of up to 64 terms in fp32
const std::string kA = std::string(OneLayer::kName) + ".lora_A.weight", kB = std::string(OneLayer::kName) + ".lora_B.weight";

std::unique_ptr<Attachment> attach(OneLayer& layer, const ChosenSamples& samples, const std::string& method, const std::string& options) {
  return find_method(method).attach(layer.places, testing::method_section(method, options), AttachContext(7, &samples));
}

at::Tensor second_half(const at::Tensor& whole, int64_t dim) { return whole.narrow(dim, whole.size(dim) / 2, whole.size(dim) / 2); }
at::Tensor projector(const at::Tensor& columns) { return at::mm(columns, columns.t()); }

/// Descending, well apart.
at::Tensor falling(int64_t count) { return at::pow(0.8, at::arange(count, at::kFloat)); }

TEST(ObservedSamples, GroupsFitTheBudgetAndEverySlotIsSeenOnce) {
  const auto model = testing::tiny_model("qwen2");
  const testing::TinyCalibration samples(*model);
  std::map<std::string, int> calls, ends;
  int64_t held = 0, most = 0;
  observe_samples(model->places().linears, AttachContext(1, &samples), false,
                  {.bytes = [](const LinearSlot&) -> int64_t { return 10; },
                   .begin =
                       [&](const LinearSlot& slot) -> LinearSlot::Observer {
                         most = std::max(most, held += 10);
                         return [&calls, name = slot.name()](const at::Tensor&, const at::Tensor&) { ++calls[name]; };
                       },
                   .end = [&](const LinearSlot& slot) { held -= 10, ++ends[slot.name()]; }},
                  "test", /*budget=*/35);
  EXPECT_EQ(most, 30);
  EXPECT_EQ(calls.size(), 14u);
  for (const auto& [name, count] : calls) EXPECT_TRUE(count == 1 && ends[name] == 1) << name;
  model->hidden_states(testing::tiny_batch().stream(), {});
  EXPECT_EQ(calls.begin()->second, 1) << "still watched";
}

TEST(ObservedSamples, WithoutSamplesTheMethodIsRefusedByName) {
  for (const auto* method : {"eva", "lora_ga", "astra"}) {
    const auto model = testing::tiny_model("qwen2");
    try {
      find_method(method).attach(model->places(), testing::method_section(method, ""), AttachContext(1));
      FAIL() << method;
    } catch (const InvalidArgument& error) {
      EXPECT_THAT(error.what(), HasSubstr(method));
    }
  }
}

// ---- Astra ----------------------------------------------------------------------------------------------------------------------------

struct Planted {
  at::Tensor vectors;  // (out, out), by falling eigenvalue
  OneLayer layer;

  static at::Tensor weight(const at::Tensor& vectors) { return at::mm(vectors * falling(20), testing::orthonormal_columns(24, 20).t()); }
  Planted() : vectors((at::manual_seed(3), testing::orthonormal_columns(20, 20))), layer(weight(vectors)) {}
  /// Inputs that are white, so that outputs have second moments W Wᵀ: two samples of other lengths and sizes, which must not matter.
  ChosenSamples samples() const { return {layer, {at::eye(24), at::eye(24).flip(0) * 3}}; }
};

TEST(Astra, FindsThePlantedEigenvectorsAndFlippingTheChoiceFlipsTheResult) {
  Planted planted;
  const auto samples = planted.samples();
  for (const auto& [choice, first] : {std::pair{"smallest", 17}, {"largest", 0}, {"middle", 9}}) {
    const auto attachment = attach(planted.layer, samples, "astra", std::string("rank: 3\neigenvectors: ") + choice);
    const auto state = attachment->state();
    const auto b0 = -second_half(state.at(kB).detach(), 1), a0 = second_half(state.at(kA).detach(), 0);
    // The gap beside the chosen space is 0.36 λ; the smallest λ is 0.8^38, 2e-4 of the largest, and W itself has fp32's rounding.
    EXPECT_LT(relative_error(projector(b0), projector(planted.vectors.narrow(1, first, 3)).to(at::kDouble)), 5e-3) << choice;
    EXPECT_LT(relative_error(at::mm(b0.t(), b0), at::eye(3, at::kDouble)), kRounding) << choice;
    EXPECT_LT(relative_error(a0, at::mm(b0.t(), planted.layer.slot.base()->weight()).to(at::kDouble)), 1e-4) << choice;
    attachment->detach();
  }
}

TEST(Astra, EnergyOfTheStartIsTheSumOfTheChosenEigenvalues) {
  Planted planted;
  const auto samples = planted.samples();
  const auto weight = planted.layer.slot.base()->weight();
  std::map<std::string, double> energy;
  for (const auto* choice : {"smallest", "middle", "largest"}) {
    const auto attachment = attach(planted.layer, samples, "astra", std::string("rank: 3\nalpha: 3\neigenvectors: ") + choice);
    const auto state = attachment->state();
    energy[choice] = at::mm(second_half(state.at(kB).detach(), 1), second_half(state.at(kA).detach(), 0)).square().sum().item<double>();
    attachment->detach();
  }
  const auto squares = falling(20).square();
  EXPECT_NEAR(energy["largest"] / squares.narrow(0, 0, 3).sum().item<double>(), 1, 1e-4);
  EXPECT_NEAR(energy["middle"] / squares.narrow(0, 9, 3).sum().item<double>(), 1, 1e-3);
  EXPECT_NEAR(energy["smallest"] / squares.narrow(0, 17, 3).sum().item<double>(), 1, 1e-2);
}

// ---- LoRA-GA --------------------------------------------------------------------------------------------------------------------------

struct PlantedGradient {
  at::Tensor u, s, v;
  OneLayer layer;

  PlantedGradient()
      : u((at::manual_seed(5), testing::orthonormal_columns(20, 6))), s(falling(6)), v(testing::orthonormal_columns(24, 6)), layer(at::randn({20, 24})) {}
  /// Gᵧᵀ X summed over both samples is U diag(s) Vᵀ.
  ChosenSamples samples() const { return {layer, {v.t() * 0.5, v.t() * 0.25}, {(u * s).t(), (u * s).t() * 2}}; }
};

TEST(LoraGa, FactorsTakeTheGradientsDirectionsAsPeftDistributesThem) {
  PlantedGradient planted;
  const auto samples = planted.samples();
  const std::map<std::string, std::pair<std::vector<int64_t>, std::vector<int64_t>>> directions = {
      {"ArB2r", {{0, 1, 2}, {3, 4, 5}}}, {"A2rBr", {{3, 4, 5}, {0, 1, 2}}}, {"ArBr", {{1, 3, 5}, {0, 2, 4}}}};
  const double stable = std::pow(20.0, 0.25) / 3.0;
  for (const auto& [direction, of] : directions)
    for (const bool paper : {false, true}) {
      const auto attachment = attach(planted.layer, samples, "lora_ga", "rank: 3\nstable_gamma: 9\ndirection: " + direction + (paper ? "\nmode: paper" : ""));
      const auto state = attachment->state();
      const auto a0 = second_half(state.at(kA).detach(), 0), b0 = -second_half(state.at(kB).detach(), 1);
      const auto in_a = planted.v.index_select(1, at::tensor(of.first)), in_b = planted.u.index_select(1, at::tensor(of.second));
      const auto lengths = paper ? at::ones({3}) : planted.s.index_select(0, at::tensor(of.second));
      // Signs are free, so squares are compared; the gradient has rank 6 and its iteration is exact.
      EXPECT_LT(relative_error(at::mm(a0.t(), a0), projector(in_a * (paper ? stable : 1.0)).to(at::kDouble)), kRounding) << direction << paper;
      EXPECT_LT(relative_error(projector(b0), projector(in_b * lengths * stable).to(at::kDouble)), kRounding) << direction << paper;
      attachment->detach();
    }
}

TEST(LoraGa, RanksBeyondHalfTheLayerAreRefused) {
  EXPECT_EQ(testing::refusal("lora_ga", "rank: 16"), "accepted");  // k_proj is (32, 64)
  EXPECT_THAT(testing::refusal("lora_ga", "rank: 17"), AllOf(HasSubstr("k_proj"), HasSubstr("method.rank")));
}

// ---- EVA ------------------------------------------------------------------------------------------------------------------------------

TEST(Eva, AStartsAsThePrincipalComponentsOfTheCentredInputs) {
  at::manual_seed(9);
  OneLayer layer(at::randn({20, 24}));
  const auto v = testing::orthonormal_columns(24, 6);
  const auto rows = (v * falling(6)).t();
  const auto shift = at::randn({1, 24}) * 2;  // a mean, which must not count
  const ChosenSamples samples(layer, {rows + shift, -rows + shift});
  const auto attachment = attach(layer, samples, "eva", "rank: 3");
  const auto state = attachment->state();
  const auto a = state.at(kA).detach();
  EXPECT_LT(relative_error(at::mm(a, v.narrow(1, 0, 3)).abs(), at::eye(3, at::kDouble)), 1e-5);
  EXPECT_TRUE(at::equal(a.gather(1, a.abs().argmax(1, true)).sign(), at::ones({3, 1})));
  EXPECT_EQ(state.at(kB).abs().max().item<float>(), 0);
}

TEST(Eva, RanksFollowTheVarianceExplainedAndTheirSumStays) {
  const auto adapted = testing::adapt("eva", "rank: 4\nalpha: 8");
  int64_t sum = 0, least = 99, most = 0;
  for (const auto& [name, tensor] : adapted.attachment->state())
    if (name.ends_with("lora_A.weight")) sum += tensor.size(0), least = std::min(least, tensor.size(0)), most = std::max(most, tensor.size(0));
  EXPECT_EQ(sum, 14 * 4);
  EXPECT_LT(least, 4);
  EXPECT_GT(most, 4);
  EXPECT_LE(most, 8);
  const auto published = adapted.attachment->published_config();
  EXPECT_FALSE(published.at("rank_pattern").empty());
  for (const auto& [name, rank] : published.at("rank_pattern").items())  // the scale stays 2
    EXPECT_EQ(published.at("alpha_pattern").at(name).get<double>(), 2 * rank.get<double>()) << name;
}

TEST(Eva, RhoOneKeepsEveryRank) {
  const auto adapted = testing::adapt("eva", "rank: 4\nrho: 1");
  EXPECT_TRUE(adapted.attachment->published_config().at("rank_pattern").empty());
  EXPECT_THAT(testing::refusal("eva", "rho: 0.5"), HasSubstr("method.rho"));
}

TEST(Eva, LayersOfOneInputGetOneStart) {
  const auto adapted = testing::adapt("eva", "rank: 4\nrho: 1");
  const auto state = adapted.attachment->state();
  const auto a = [&](const std::string& part) { return state.at("model.layers.1.self_attn." + part + ".lora_A.weight"); };
  EXPECT_TRUE(at::equal(a("q_proj"), a("k_proj")));
  EXPECT_FALSE(at::equal(a("q_proj"), a("o_proj")));
}

TEST(Eva, WhiteningDividesByTheRootOfTheSingularValue) {
  at::manual_seed(9);
  OneLayer layer(at::randn({20, 24}));
  const auto rows = (testing::orthonormal_columns(24, 6) * falling(6)).t();
  const ChosenSamples samples(layer, {rows, -rows});
  const auto plain = attach(layer, samples, "eva", "rank: 3");
  const auto a = plain->state().at(kA).detach().clone();
  plain->detach();
  const auto white = attach(layer, samples, "eva", "rank: 3\nwhiten: true");
  const auto singular = (falling(3).square() * 2).sqrt().to(at::kDouble);  // two rows a direction
  EXPECT_LT(relative_error(white->state().at(kA).detach(), (a.to(at::kDouble) / singular.sqrt().unsqueeze(1))), 1e-5);
}

}  // namespace
}  // namespace graft::peft
