#include "peft_core/methods/low_rank/lora.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/methods/low_rank/low_rank_op.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::Adapted;
using testing::Tensors;
using testing::adapt;
using testing::refusal;
using testing::relative_error;
using testing::slot_of;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr double kUnit32 = 0x1p-24, kUnit16 = 0x1p-8;
const std::string kQuery0 = "model.layers.0.self_attn.q_proj", kQuery1 = "model.layers.1.self_attn.q_proj";

at::Tensor a_of(const Adapted& adapted, const std::string& layer) { return adapted.attachment->state().at(layer + ".lora_A.weight"); }
at::Tensor b_of(const Adapted& adapted, const std::string& layer) { return adapted.attachment->state().at(layer + ".lora_B.weight"); }

/// (merged − base) / (B A), which is the scale: the least-squares factor between the two.
double scale_of(const Adapted& adapted, const std::string& layer) {
  adapted.disturb(3);
  const auto& slot = slot_of(adapted, layer);
  const auto update = (slot.adapter()->merged_weight(*slot.base()) - slot.base()->weight()).to(at::kDouble);
  const auto product = at::mm(b_of(adapted, layer).to(at::kDouble), a_of(adapted, layer).to(at::kDouble));
  const double scale = (update * product).sum().item<double>() / product.square().sum().item<double>();
  EXPECT_LT(relative_error(update, product * scale), 1e-5) << "the update is no multiple of B A";
  return scale;
}

TEST(Lora, ShapesAndNamesArePefts) {
  const auto adapted = adapt("lora", "rank: 4\ntargets: [q_proj, down_proj]");
  const auto state = adapted.attachment->state();
  EXPECT_EQ(state.size(), 8u);
  EXPECT_EQ(a_of(adapted, kQuery0).sizes(), at::IntArrayRef({4, 64}));
  EXPECT_EQ(b_of(adapted, kQuery0).sizes(), at::IntArrayRef({64, 4}));
  EXPECT_EQ(a_of(adapted, "model.layers.1.mlp.down_proj").sizes(), at::IntArrayRef({4, 96}));
}

TEST(Lora, TrainableParametersAreThoseOfTheFormula) {
  const auto adapted = adapt("lora", "rank: 4");
  int64_t trainable = 0, expected = 0;
  for (const auto& [name, tensor] : adapted.trainable()) trainable += tensor.numel();
  for (const auto* slot : adapted.model->places().linears) expected += 4 * (slot->base()->in_features() + slot->base()->out_features());
  EXPECT_EQ(trainable, expected);
}

TEST(Lora, GroupsAreAAndB) {
  const auto groups = adapt("lora").attachment->trainable();
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].name, "lora_A");
  EXPECT_EQ(groups[1].name, "lora_B");
  for (const auto& group : groups) {
    EXPECT_EQ(group.parameters.size(), 14u);
    for (const auto& [name, tensor] : group.parameters) EXPECT_THAT(name, HasSubstr(group.name));
  }
}

TEST(Lora, ScaleIsAlphaOverRankAndOverItsRootWithRslora) {
  EXPECT_NEAR(scale_of(adapt("lora"), kQuery0), 2.0, 1e-5);  // 32 / 16, the defaults
  EXPECT_NEAR(scale_of(adapt("lora", "rank: 4\nalpha: 6"), kQuery0), 1.5, 1e-5);
  EXPECT_NEAR(scale_of(adapt("lora", "rank: 4\nalpha: 6\nuse_rslora: true"), kQuery0), 3.0, 1e-5);
}

TEST(Lora, RankAndAlphaPatternsChangeSingleLayers) {
  const auto options = "rank: 4\nalpha: 8\nrank_pattern: {layers.1.self_attn.q_proj: 2, up_proj: 6}\nalpha_pattern: {'[01].mlp.up_proj': 3}";
  const auto adapted = adapt("lora", options);
  EXPECT_EQ(a_of(adapted, kQuery0).size(0), 4);
  EXPECT_EQ(a_of(adapted, kQuery1).size(0), 2);
  EXPECT_EQ(a_of(adapted, "model.layers.0.mlp.up_proj").size(0), 6);
  EXPECT_NEAR(scale_of(adapted, kQuery0), 2.0, 1e-5);
  EXPECT_NEAR(scale_of(adapted, kQuery1), 4.0, 1e-5);  // its own rank, the common alpha
  EXPECT_NEAR(scale_of(adapted, "model.layers.1.mlp.up_proj"), 0.5, 1e-5);
  EXPECT_NEAR(scale_of(adapt("lora", std::string(options) + "\nuse_rslora: true"), kQuery1), 8 / std::sqrt(2.0), 1e-4);
}

TEST(Lora, OfTwoFittingPatternsTheFirstInAlphabeticalOrderWins) {
  // PEFT takes the first in the file, and writes its files with sorted keys.
  const auto adapted = adapt("lora", "rank: 4\nrank_pattern: {q_proj: 3, layers.1.self_attn.q_proj: 2}");
  EXPECT_EQ(a_of(adapted, kQuery0).size(0), 3);
  EXPECT_EQ(a_of(adapted, kQuery1).size(0), 2);
}

TEST(Lora, PatternsThatFitNothingAreRefused) {
  EXPECT_THAT(refusal("lora", "rank_pattern: {q_porj: 4}"), AllOf(HasSubstr("rank_pattern"), HasSubstr("q_porj")));
  EXPECT_THAT(refusal("lora", "alpha_pattern: {lm_head: 4}"), HasSubstr("alpha_pattern"));  // there, but not adapted
}

TEST(Lora, RankOutsideTheLayersSizeIsRefusedByName) {
  EXPECT_EQ(refusal("lora", "rank: 32"), "accepted");  // min(in, out) of k_proj
  EXPECT_THAT(refusal("lora", "rank: 33"), AllOf(HasSubstr("method.rank"), HasSubstr("k_proj"), HasSubstr("32"), HasSubstr("33")));
  EXPECT_THAT(refusal("lora", "rank: 0"), HasSubstr("method.rank"));
  EXPECT_THAT(refusal("lora", "rank: -4"), HasSubstr("method.rank"));
  EXPECT_THAT(refusal("lora", "rank: 4\nrank_pattern: {v_proj: 0}"), HasSubstr("v_proj"));
  EXPECT_THAT(refusal("lora", "rank: four"), HasSubstr("rank"));
}

TEST(Lora, DropoutOutsideItsRangeIsRefused) {
  for (const auto* value : {"-0.1", "1", "1.5", ".nan"}) EXPECT_THAT(refusal("lora", std::string("dropout: ") + value), HasSubstr("dropout")) << value;
  EXPECT_EQ(refusal("lora", "dropout: 0.99"), "accepted");
}

TEST(Lora, ARefusedAttachLeavesNoAdapterBehind) {
  auto model = testing::tiny_model("qwen2");
  const auto attach = [&](const std::string& options) {
    return find_method("lora").attach(model->places(), testing::method_section("lora", options), 1);
  };
  EXPECT_THROW(attach("rank: 33"), InvalidArgument);  // q_proj fits, k_proj does not
  EXPECT_THROW(attach("rank_pattern: {q_porj: 4}"), InvalidArgument);
  for (const auto* slot : model->places().linears) EXPECT_EQ(slot->adapter(), nullptr) << slot->name();
  const auto first = attach("rank: 4\ntargets: [v_proj]");
  EXPECT_THROW(attach("rank: 4"), InvalidArgument);  // v_proj is taken
  for (const auto* slot : model->places().linears) EXPECT_EQ(slot->adapter() != nullptr, slot->name().ends_with("v_proj")) << slot->name();
}

TEST(Lora, StartIsUniformWithinOneOverRootInAndZero) {
  const auto adapted = adapt("lora", "rank: 16");
  for (const auto* slot : adapted.model->places().linears) {
    const double bound = 1 / std::sqrt(static_cast<double>(slot->base()->in_features()));
    const auto a = a_of(adapted, slot->name()).detach().to(at::kDouble) / bound;
    const auto n = static_cast<double>(a.numel());
    EXPECT_LE(a.abs().max().item<double>(), 1.0);
    EXPECT_GT(a.abs().max().item<double>(), 0.98);  // of 1,024 draws all below 0.98: e^-20
    // Mean and mean square of U(-1, 1) are 0 and 1/3, with deviations √(1/3n) and √(4/45n): five of each.
    EXPECT_NEAR(a.mean().item<double>(), 0.0, 5 / std::sqrt(3 * n));
    EXPECT_NEAR(a.square().mean().item<double>(), 1.0 / 3, 5 * std::sqrt(4 / (45 * n)));
    EXPECT_EQ(b_of(adapted, slot->name()).abs().max().item<double>(), 0.0);
  }
}

TEST(Lora, StartsDifferBySeedAndLayer) {
  const auto one = adapt("lora"), other = adapt("lora", "", "qwen2", testing::kDense, 8);
  EXPECT_FALSE(at::equal(a_of(one, kQuery0), a_of(other, kQuery0)));
  EXPECT_FALSE(at::equal(a_of(one, kQuery0), a_of(one, kQuery1)));
}

TEST(Lora, TargetsMayNameTheHead) {
  const auto batch = testing::tiny_batch();
  for (const auto* kind : {"qwen2", "llama"}) {
    auto adapted = adapt("lora", "rank: 4\ntargets: [q_proj, lm_head]", kind);
    adapted.disturb(3);
    torch::autograd::backward({adapted.loss(batch)});
    EXPECT_GT(a_of(adapted, "lm_head").grad().abs().max().item<double>(), 0.0) << kind;
    EXPECT_NEAR(adapted.loss(batch).item<double>(), adapted.exact_loss(batch), 1e-4);
    const auto embedding = adapted.model->embedding()->weight(), before = adapted.logits(batch);
    adapted.attachment->merge(at::kFloat);
    EXPECT_LT(relative_error(adapted.logits(batch), before.to(at::kDouble)), 15 * 16 * kUnit32);
    EXPECT_TRUE(at::equal(adapted.model->embedding()->weight(), embedding)) << "a tied head must not drag the embedding along";
  }
}

TEST(Lora, PublishedConfigHasPeftsKeys) {
  const auto published = adapt("lora", "rank: 4\nalpha: 6\ndropout: 0.1\nuse_rslora: true\nrank_pattern: {q_proj: 2}").attachment->published_config();
  EXPECT_EQ(published.at("peft_type"), "LORA");
  EXPECT_EQ(published.at("r"), 4);
  EXPECT_EQ(published.at("lora_alpha"), 6);
  EXPECT_EQ(published.at("lora_dropout"), 0.1);
  EXPECT_EQ(published.at("use_rslora"), true);
  EXPECT_EQ(published.at("rank_pattern").at("q_proj"), 2);
  EXPECT_EQ(published.at("bias"), "none");
  EXPECT_EQ(published.at("use_dora"), false);
  EXPECT_THAT(published.at("target_modules").get<std::vector<std::string>>(),
              UnorderedElementsAre("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"));
}

TEST(Lora, PublishedTargetsNameExactlyTheAdaptedLayers) {
  for (const auto* targets : {"[q_proj, v_proj]", "[0.self_attn.q_proj]", "['.*1\\.mlp\\..*']", "[all-linear]", "[all-linear, lm_head]"}) {
    const auto first = adapt("lora", std::string("rank: 4\ntargets: ") + targets);
    const auto section = find_method("lora").from_published(first.attachment->published_config());
    ASSERT_TRUE(section.has_value());
    Adapted second{testing::tiny_model("qwen2"), nullptr};
    second.attachment = find_method("lora").attach(second.model->places(), *section, 1);
    std::set<std::string> expected, actual;
    for (const auto& [name, tensor] : first.attachment->state()) expected.insert(name);
    for (const auto& [name, tensor] : second.attachment->state()) actual.insert(name);
    EXPECT_EQ(actual, expected) << targets;
  }
}

TEST(Lora, ReadsPeftsConfigWithDefaultsAndRefusesItsVariants) {
  const auto read = [](const std::string& more) {
    return find_method("lora").from_published(nlohmann::json::parse(R"({"peft_type": "LORA", "target_modules": ["q_proj"])" + more + "}"));
  };
  const auto plain = read("");
  ASSERT_TRUE(plain.has_value());
  EXPECT_EQ(plain->find("rank")->scalar, "8");  // PEFT's defaults, not ours
  EXPECT_EQ(plain->find("alpha")->scalar, "8.0");
  EXPECT_TRUE(read(R"(, "use_dora": false, "kasa_config": null, "layer_replication": [])").has_value());
  EXPECT_THROW(read(R"(, "lora_bias": true)"), InvalidArgument);
  EXPECT_FALSE(read(R"(, "use_dora": true)").has_value());  // the method dora
  EXPECT_THROW(read(R"(, "layer_replication": [[0, 2]])"), InvalidArgument);
  EXPECT_FALSE(find_method("lora").from_published(nlohmann::json::parse(R"({"peft_type": "IA3"})")).has_value());
}

/// y = x Wᵀ + bias + scale · (x ⊙ mask) Aᵀ Bᵀ in float64.
testing::TensorFunction low_rank_float64(const at::Tensor& weight, double scale, const at::Tensor& mask) {
  return [=](const Tensors& in) {
    const auto dropped = mask.defined() ? in[0] * mask.to(at::kDouble) : in[0];
    return at::mm(in[0], weight.to(at::kDouble).t()) + in[3] + at::mm(at::mm(dropped, in[1].t()), in[2].t()) * scale;
  };
}

Tensors low_rank_inputs(at::ScalarType dtype, int64_t tokens) {
  at::manual_seed(4);
  return {at::randn({tokens, 96}).to(dtype).requires_grad_(), (at::randn({5, 96}) * 0.1).requires_grad_(),
          (at::randn({33, 5}) * 0.3).requires_grad_(), at::randn({33}).requires_grad_()};
}

TEST(LowRankLinear, EqualsFloat64WithItsGradients) {
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const int64_t tokens : {0, 1, 7, 130}) {
      at::manual_seed(2);
      const auto base = dense_linear((at::randn({33, 96}) * 0.2).to(dtype));
      const auto errors = testing::compare_with_float64(
          [&](const Tensors& in) { return low_rank_linear(in[0], in[1], in[2], 1.5, base, in[3]); },
          low_rank_float64(base->weight(), 1.5, {}), low_rank_inputs(dtype, tokens));
      // fp32: products of up to 130 terms. bf16: A, B, the thin product, both parts of a sum and the result are rounded: 6 of them.
      EXPECT_LT(errors.worst(), dtype == at::kFloat ? 64 * kUnit32 : 6 * kUnit16) << tokens;
    }
  EXPECT_LT(testing::central_difference_error(low_rank_float64(at::ones({33, 96}), 1.5, {}), low_rank_inputs(at::kFloat, 3)), 1e-8);
}

TEST(LowRankLinear, DropoutDropsInputsOfTheUpdateOnly) {
  // A = B = identity and W = 0: the output is the dropped input itself.
  const auto base = dense_linear(at::zeros({64, 64}));
  const auto eye = at::eye(64), x = at::ones({500, 64});
  const auto y = low_rank_linear(x, eye, eye, 1.0, base, {}, 0.25, 17);
  const auto kept = y.ne(0);
  EXPECT_LT(relative_error(y.masked_select(kept), at::full({kept.sum().item<int64_t>()}, 4.0 / 3, at::kDouble)), 4 * kUnit32);
  // 32,000 draws: a deviation of √(p (1 − p) / n) = 0.0024, five of them.
  EXPECT_NEAR(kept.to(at::kDouble).mean().item<double>(), 0.75, 0.012);
  const auto weight = dense_linear(at::eye(64));
  const auto both = low_rank_linear(x, eye, eye, 1.0, weight, {}, 0.25, 17);
  EXPECT_LT(relative_error(both - 1, y.to(at::kDouble)), 4 * kUnit32);  // W sees all inputs
}

TEST(LowRankLinear, GradientsWithDropoutUseTheMaskOfTheForwardPass) {
  const auto base = dense_linear(at::randn({33, 96}) * 0.2);
  for (const uint64_t seed : {uint64_t{17}, ~uint64_t{0}}) {
    // The mask, read off an identity of the same input size.
    const auto eye = at::eye(96);
    const auto mask = low_rank_linear(at::ones({7, 96}), eye, eye, 1.0, dense_linear(at::zeros({96, 96})), {}, 0.4, seed);
    const auto errors = testing::compare_with_float64(
        [&](const Tensors& in) { return low_rank_linear(in[0], in[1], in[2], 1.5, base, in[3], 0.4, seed); },
        low_rank_float64(base->weight(), 1.5, mask), low_rank_inputs(at::kFloat, 7));
    EXPECT_LT(errors.worst(), 64 * kUnit32);
  }
}

TEST(LowRankLinear, MaskIsTheSameForOneAndTwoThreads) {
  const auto eye = at::eye(64), x = at::ones({3000, 64});
  const auto masked = [&] { return low_rank_linear(x, eye, eye, 1.0, dense_linear(at::zeros({64, 64})), {}, 0.25, 17); };
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = masked();
  at::set_num_threads(2);
  const auto two = masked();
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(one, two));
}

}  // namespace
}  // namespace graft::peft
