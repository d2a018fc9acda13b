#include "peft_core/operations/low_rank_conversion.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "kernels/base/error.h"
#include "peft_core/operations/reversible_merge.h"
#include "tests/peft_core/methods/method_fixture.h"

namespace graft::testing {
namespace {

/// Puts a random adapter of the method on a model: what a conversion is given.
std::unique_ptr<peft::Attachment> random_adapter(peft::CausalLm& model, const std::string& method, const std::string& options) {
  Adapted view{nullptr, peft::find_method(method).attach(model.places(), method_section(method, options), peft::AttachContext(3))};
  view.disturb(3);
  return std::move(view.attachment);
}

peft::Conversion converted(peft::CausalLm& model, const std::string& method, const std::string& options, int64_t rank) {
  return peft::convert_to_low_rank(model.places(), rank, [&] { return random_adapter(model, method, options); });
}

/// The model with the converted updates as plain LoRA.
at::Tensor logits_as_lora(const peft::Conversion& conversion, int64_t rank) {
  const auto lora = adapt("lora", "rank: " + std::to_string(rank) + "\nalpha: " + std::to_string(rank), "llama");
  auto state = lora.attachment->state();
  at::NoGradGuard no_gradient;
  for (const auto& [layer, update] : conversion.updates()) {
    state.at(layer + ".lora_A.weight").detach().copy_(update.a);
    state.at(layer + ".lora_B.weight").detach().copy_(update.b);
  }
  return lora.logits(tiny_batch());
}

TEST(LowRankConversion, OfALoraOfThatRankLosesNothing) {
  const auto model = tiny_model("llama");
  const auto conversion = converted(*model, "lora", "rank: 6", 6);
  EXPECT_EQ(conversion.layers.size(), model->places().linears.size());
  EXPECT_LT(conversion.relative_error(), 1e-6);  // fp32 factors
  const Adapted original{tiny_model("llama"), nullptr};
  const auto attachment = random_adapter(*original.model, "lora", "rank: 6");
  EXPECT_LT((original.logits(tiny_batch()) - logits_as_lora(conversion, 6)).abs().max().item<double>(), 2e-4);
  EXPECT_GT((original.logits(tiny_batch()) - Adapted{tiny_model("llama"), nullptr}.logits(tiny_batch())).abs().max().item<double>(), 0.05);
}

TEST(LowRankConversion, ReportsTheErrorThatTheCutMakes) {
  const auto model = tiny_model("llama");
  double before = 1;
  for (const int64_t rank : {1, 4, 16, 32, 64}) {
    const auto conversion = converted(*model, "dora", "rank: 4", rank);  // its update has full rank: every row is scaled
    for (const auto& layer : conversion.layers) {
      const Adapted one{tiny_model("llama"), nullptr};
      const auto attachment = random_adapter(*one.model, "dora", "rank: 4");
      for (const auto* slot : one.model->places().linears) {
        if (slot->name() != layer.layer) continue;
        at::NoGradGuard no_gradient;
        const auto delta = (slot->adapter()->merged_weight(*slot->base()) - slot->base()->weight()).to(at::kDouble);
        const auto tail = at::linalg_svdvals(delta).slice(0, rank);
        EXPECT_NEAR(layer.squared_error, tail.square().sum().item<double>(), 1e-4 * layer.squared_update + 1e-9) << layer.layer << " " << rank;
      }
      break;  // the first layer stands for all
    }
    EXPECT_LT(conversion.relative_error(), before);
    before = conversion.relative_error();
  }
  EXPECT_LT(before, 1e-4) << "all of the rank";
}

/// Whatever a method computes: at full rank the LoRA says the same, or the method is refused in words.
class ConversionOfMethod : public ::testing::TestWithParam<std::string> {};

TEST_P(ConversionOfMethod, IsExactAtFullRankOrRefused) {
  const auto& method = peft::find_method(GetParam());
  if (!method.traits.mergeable) GTEST_SKIP() << "cannot be merged, so the command refuses it";
  if (method.name == "bitfit") GTEST_SKIP() << "this model has no biases; its refusal stands in LeavesTheModelAsItWas";
  const auto model = tiny_model("llama");
  const TinyCalibration calibration(*model);
  at::Tensor expected;
  peft::Conversion conversion;
  try {
    conversion = peft::convert_to_low_rank(model->places(), 64, [&] {
      Adapted view{nullptr, method.attach(model->places(), method_section(method.name, ""), peft::AttachContext(3, &calibration))};
      view.disturb(3);
      at::NoGradGuard no_gradient;
      expected = model->logits(model->hidden_states(tiny_batch().stream(), {}));
      return std::move(view.attachment);
    });
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("which no LoRA can"), std::string::npos) << error.what();
    return;
  }
  const auto lora = adapt("lora", "rank: 64\nalpha: 64\nrank_pattern: {k_proj: 32, v_proj: 32}\nalpha_pattern: {k_proj: 32, v_proj: 32}", "llama");
  at::NoGradGuard no_gradient;
  auto state = lora.attachment->state();
  for (const auto& [name, tensor] : state) tensor.detach().zero_();
  for (const auto& [layer, update] : conversion.updates()) {
    state.at(layer + ".lora_A.weight").detach().narrow(0, 0, update.a.size(0)).copy_(update.a);
    state.at(layer + ".lora_B.weight").detach().narrow(1, 0, update.a.size(0)).copy_(update.b);
  }
  // Differences of fp32 weights: 6e-8 of weights of 0.1 over sums of 64, twice for two ways of summing, over two layers.
  EXPECT_LT((lora.logits(tiny_batch()) - expected).abs().max().item<double>(), 1e-3);
}

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const auto& method : peft::builtin_methods()) names.push_back(method.name);
  return names;
}

std::string name_of_case(const ::testing::TestParamInfo<std::string>& info) { return info.param; }

INSTANTIATE_TEST_SUITE_P(Methods, ConversionOfMethod, ::testing::ValuesIn(method_names()), name_of_case);

TEST(LowRankConversion, LeavesTheModelAsItWas) {
  const Adapted base{tiny_model("qwen2"), nullptr};
  const auto before = base.logits(tiny_batch());
  converted(*base.model, "lora", "rank: 4", 2);
  EXPECT_TRUE(base.logits(tiny_batch()).equal(before));
  EXPECT_THROW(converted(*base.model, "bitfit", "", 2), InvalidArgument);
  EXPECT_TRUE(base.logits(tiny_batch()).equal(before));
  EXPECT_THROW(converted(*base.model, "lora", "rank: 4", 0), InvalidArgument);
  EXPECT_THROW(converted(*base.model, "ia3", "", 2), InvalidArgument) << "scales the biases of q, k and v too";
}

TEST(ReversibleMerge, GivesEveryBitBack) {
  for (const auto& storage : {kDense, kDenseBf16, kNf4, kBlocks}) {
    const auto adapted = adapt("lora", "rank: 4\ntargets: [all-linear, lm_head]", "llama", storage);
    adapted.disturb(4);
    const auto apart = adapted.logits(tiny_batch());
    {
      peft::ReversibleMerge merge(adapted.model->places(), at::kFloat);
      for (const auto* slot : adapted.model->places().linears) EXPECT_EQ(slot->adapter(), nullptr);
      const auto merged = adapted.logits(tiny_batch());
      // Two orders of fp32 sums. In bf16 the roundings of two layers of activations are all that this could measure.
      const double bound = storage.compute == at::kFloat ? 2e-4 : 1;
      EXPECT_LT((merged - apart).abs().max().item<double>(), bound);
      EXPECT_FALSE(merged.equal(apart));
      merge.undo();
      merge.undo();
      EXPECT_TRUE(adapted.logits(tiny_batch()).equal(apart));
    }
    EXPECT_TRUE(adapted.logits(tiny_batch()).equal(apart));
    adapted.train(tiny_batch(), 1);
    EXPECT_FALSE(adapted.logits(tiny_batch()).equal(apart)) << "the adapter is the one that trains";
  }
}

TEST(ReversibleMerge, GivesBiasesBackToo) {
  const auto adapted = adapt("ia3", "", "qwen2");
  adapted.disturb(4);
  const auto apart = adapted.logits(tiny_batch());
  peft::ReversibleMerge merge(adapted.model->places(), at::kFloat);
  EXPECT_LT((adapted.logits(tiny_batch()) - apart).abs().max().item<double>(), 2e-4);
  merge.undo();
  EXPECT_TRUE(adapted.logits(tiny_batch()).equal(apart));
}

TEST(ReversibleMerge, RefusesWeightsThatAreNotFinite) {
  const auto adapted = adapt("lora", "rank: 4", "llama");
  adapted.disturb(4);
  const auto before = adapted.logits(tiny_batch());
  const auto huge = adapted.trainable().back().second.detach();
  const auto kept = huge.clone();
  huge.fill_(1e30f);
  EXPECT_THROW(peft::ReversibleMerge(adapted.model->places(), at::kHalf), InvalidArgument);
  huge.copy_(kept);
  EXPECT_TRUE(adapted.logits(tiny_batch()).equal(before));
}

}  // namespace
}  // namespace graft::testing
