#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"
#include "tests/support/pretend_device.h"
#include "tests/support/shared_data.h"

// What every method promises. A method in builtin_methods() is tested here without a line of its own; what is special to one stands in
// <name>_test.cpp. A case that does not apply says why.
namespace graft::peft {
namespace {

using testing::adapt;
using testing::Adapted;
using testing::relative_error;
using testing::tiny_batch;
using ::testing::HasSubstr;

constexpr double kUnit32 = 0x1p-24;

std::string trait(const char* name) { return std::string("the method does not promise ") + name; }

class MethodConformance : public ::testing::TestWithParam<std::string> {
 protected:
  const MethodSpec& spec() const { return find_method(GetParam()); }
  Adapted adapted(const BaseStorage& storage = testing::kDense, const std::string& options = "") const {
    return adapt(GetParam(), options, "qwen2", storage);
  }
  /// Options for the tests that follow slopes and roundings far from the start. RandLoRA's scale of 20 makes an update as large as the weights
  /// of the suite's noise, and the loss then curves within the step of a central difference.
  std::string gentle() const { return GetParam() == "randlora" ? "alpha: 32" : ""; }
  /// The resolved section's keys.
  std::vector<std::string> options() const {
    const auto resolved = ConfigNode::parse(spec().resolved(testing::method_section(GetParam(), "")), "resolved");
    std::vector<std::string> keys;
    for (const auto& [key, value] : resolved.find("method")->entries) keys.push_back(key);
    return keys;
  }
  bool has_option(const std::string& key) const {
    const auto keys = options();
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  }
  /// Those among `all` that the method can work on.
  std::vector<BaseStorage> storages(const std::vector<BaseStorage>& all = {testing::kDense, testing::kDenseBf16, testing::kNf4,
                                                                           testing::kBlocks}) const {
    std::vector<BaseStorage> some;
    for (const auto& storage : all)
      if (storage.quantize != Quantize::kKeep || spec().traits.on_quantised_files) some.push_back(storage);
    return some;
  }
  testing::TinyBatch batch_ = tiny_batch();
};

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const auto& method : builtin_methods()) names.push_back(method.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(Methods, MethodConformance, ::testing::ValuesIn(method_names()),
                         [](const auto& instance) { return instance.param; });

at::Tensor base_logits(const testing::TinyBatch& batch, const std::string& kind = "qwen2", const BaseStorage& storage = testing::kDense) {
  return Adapted{testing::tiny_model(kind, storage), nullptr}.logits(batch);
}

std::map<std::string, at::Tensor> frozen_weights(CausalLm& model) {
  std::map<std::string, at::Tensor> all;
  for (const auto& [name, base] : model.frozen_matrices()) all[name] = base->weight();
  for (const auto& slot : model.places().parameters)
    if (!slot.tensor->requires_grad()) all[slot.name] = slot.tensor->clone();
  return all;
}

AdapterState copied(const Attachment& attachment) {
  AdapterState state;
  for (const auto& [name, tensor] : attachment.state()) state[name] = tensor.detach().clone();
  return state;
}

TEST_P(MethodConformance, HasACardAndADescription) {
  const auto root = testing::source_dir();
  EXPECT_TRUE(std::filesystem::exists(root / ("docs/methods/" + GetParam() + ".md"))) << "write the method's card";
  EXPECT_FALSE(spec().paper.empty() || spec().use_when.empty() || spec().parameters.empty());
}

TEST_P(MethodConformance, AttachingChangesNoOutput) {
  if (!spec().traits.identity_at_start) GTEST_SKIP() << trait("identity at the start");
  for (const auto* kind : {"qwen2", "qwen3", "llama", "mistral"})
    for (const auto& storage : storages()) {
      try {
        const auto adapted = adapt(GetParam(), "", kind, storage);
        const auto ours = adapted.logits(batch_), expected = base_logits(batch_, kind, storage);
        if (spec().traits.identity_up_to_rounding) {
          // What is added is a sum of r = 16 products that cancel, each rounded once: some 16 units of a product that is smaller than y,
          // in each of 14 layers. In bf16 it is lost in y's own rounding, which it may turn over now and then: 14 roundings of 2^-9 at most.
          const double unit = storage.compute == at::kFloat ? 16 * kUnit32 : 0x1p-9;
          EXPECT_LT(relative_error(ours, expected.to(at::kDouble)), 14 * unit) << kind;
        } else {
          EXPECT_TRUE(at::equal(ours, expected)) << kind;
        }
      } catch (const InvalidArgument& refused) {
        // A model without the places that the method trains is refused in words; only qwen2 has all of them.
        EXPECT_STRNE(kind, "qwen2") << refused.what();
      }
    }
}

TEST_P(MethodConformance, OnlyItsOwnTensorsAreTrainable) {
  const auto adapted = this->adapted();
  std::set<const void*> own;
  for (const auto& [name, tensor] : adapted.trainable()) {
    EXPECT_TRUE(tensor.requires_grad() && tensor.is_leaf() && tensor.scalar_type() == at::kFloat) << name;
    EXPECT_TRUE(own.insert(tensor.unsafeGetTensorImpl()).second) << name << " is there twice";
  }
  EXPECT_FALSE(own.empty());
  for (const auto& slot : adapted.model->places().parameters)
    EXPECT_EQ(slot.tensor->requires_grad(), own.contains(slot.tensor->unsafeGetTensorImpl())) << slot.name;
}

TEST_P(MethodConformance, TrainingChangesEveryTrainableTensorAndNoFrozenBit) {
  const auto adapted = this->adapted();
  const auto frozen = frozen_weights(*adapted.model);
  std::map<std::string, at::Tensor> start;
  for (const auto& [name, tensor] : adapted.trainable()) start[name] = tensor.detach().clone();
  const double before = adapted.exact_loss(batch_);
  adapted.train(batch_, 4);
  for (const auto& [name, tensor] : adapted.trainable()) {
    ASSERT_TRUE(tensor.grad().defined()) << name << " got no gradient";
    EXPECT_FALSE(at::equal(tensor, start.at(name))) << name << " did not move";
  }
  for (const auto& [name, value] : frozen_weights(*adapted.model)) EXPECT_TRUE(at::equal(value, frozen.at(name))) << name << " changed";
  EXPECT_LT(adapted.exact_loss(batch_), before);
}

TEST_P(MethodConformance, EveryTrainableTensorGetsAGradientByTheSecondStep) {
  const auto adapted = this->adapted();
  adapted.train(batch_, 2);
  for (const auto& [name, tensor] : adapted.trainable()) {
    ASSERT_TRUE(tensor.grad().defined()) << name;
    EXPECT_GT(tensor.grad().abs().max().item<double>(), 0.0) << name;
    EXPECT_TRUE(at::isfinite(tensor.grad()).all().item<bool>()) << name;
  }
}

/// The loss sums some 13 tokens of about 5 nats, each good to some 1e-6; five points at h = 0.02 then give a slope good to about 2e-4,
/// and the fifth derivative's part, h⁴/30, adds 1e-8 of its size. So a tensor is held to 1e-3 of its slope plus 5e-4.
void expect_gradients_of_slope(const Adapted& adapted, const testing::TinyBatch& batch) {
  adapted.disturb(3);
  adapted.clear_gradients();
  torch::autograd::backward({adapted.loss(batch)});
  for (const auto& [name, tensor] : adapted.trainable()) {
    const auto gradient = tensor.grad().clone();
    const double length = gradient.norm().item<double>();
    if (length < 1e-4) continue;  // a direction in which nothing happens has no slope to compare
    // Where the loss is steep it also curves soon, and a shorter step still stands well above the rounding: 8e-4 / 10.
    const double h = length > 10 ? 0.005 : 0.02;
    const double ratio = testing::slope_along_gradient([&] { return adapted.exact_loss(batch); }, tensor, gradient, h);
    EXPECT_NEAR(ratio, 1.0, 1e-3 + 5e-4 / length) << name << ", gradient of length " << length;
  }
}

TEST_P(MethodConformance, GradientEqualsCentralDifferences) {
  if (!spec().traits.exact_gradient) GTEST_SKIP() << trait("an exact gradient");
  expect_gradients_of_slope(adapted(testing::kDense, gentle()), batch_);
}

TEST_P(MethodConformance, WorksOnQuantisedBases) {
  for (const auto& storage : storages({testing::kNf4, testing::kBlocks})) {
    const auto adapted = this->adapted(storage, gentle());
    if (spec().traits.exact_gradient) expect_gradients_of_slope(adapted, batch_);
    const auto frozen = frozen_weights(*adapted.model);
    const double before = adapted.exact_loss(batch_);
    adapted.train(batch_, 4);
    EXPECT_LT(adapted.exact_loss(batch_), before);
    for (const auto& [name, value] : frozen_weights(*adapted.model)) EXPECT_TRUE(at::equal(value, frozen.at(name))) << name;
  }
}

TEST_P(MethodConformance, Bf16GradientsAreThoseOfFp32WithBf16sRounding) {
  if (spec().traits.chooses_parts) GTEST_SKIP() << "a token near a border may go elsewhere in bf16; the method has a test of its own";
  // A method that quantises the base itself would round the two bases to different codes.
  const bool quantises = !spec().traits.on_quantised_files;
  const BaseStorage nf4_in_bf16{.dtype = at::kFloat, .quantize = Quantize::kNf4, .compute = at::kBFloat16};
  const auto fp32 = adapted(quantises ? testing::kNf4 : testing::kDense, gentle());
  const auto bf16 = adapted(quantises ? nf4_in_bf16 : testing::kDenseBf16, gentle());
  load_state(*bf16.attachment, copied(*fp32.attachment), "start");  // one that is computed from a rounded base may be another
  for (const auto* one : {&fp32, &bf16}) {
    one->disturb(3);
    torch::autograd::backward({one->loss(batch_)});
  }
  double dot = 0, own = 0, right = 0;
  const auto expected = fp32.trainable(), actual = bf16.trainable();
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto e = expected[i].second.grad().to(at::kDouble), a = actual[i].second.grad().to(at::kDouble);
    EXPECT_EQ(actual[i].second.grad().scalar_type(), at::kFloat);
    dot += (a * e).sum().item<double>(), own += a.square().sum().item<double>(), right += e.square().sum().item<double>();
  }
  // Two layers of some ten roundings of 2^-8 / √3 each, independent: 4.5 × 0.23 %, twice over for the way back, so some 2 %: a cosine
  // of 1 − 0.02² / 2, and lengths that agree to 2 %; allowed is twice the error.
  EXPECT_GT(dot / std::sqrt(own * right), 1 - 0.04 * 0.04 / 2);
  EXPECT_NEAR(std::sqrt(own / right), 1.0, 0.04);
}

TEST_P(MethodConformance, MergedModelGivesTheSameOutputs) {
  for (const auto& storage : storages({testing::kDense, testing::kNf4, testing::kBlocks})) {
    auto adapted = this->adapted(storage);
    adapted.disturb(5);
    if (!spec().traits.mergeable) {
      EXPECT_THROW(adapted.attachment->merge(at::kFloat), InvalidArgument);
      continue;
    }
    const auto before = adapted.logits(batch_);
    ASSERT_FALSE(at::equal(before, base_logits(batch_, "qwen2", storage)));
    adapted.attachment->merge(at::kFloat);
    const auto after = adapted.logits(batch_);
    // The merged weight is rounded once, and sums run in another order, in 15 layers of products of up to 96 terms.
    EXPECT_LT(relative_error(after, before.to(at::kDouble)), 15 * 16 * kUnit32);
    for (const auto* slot : adapted.model->places().linears) EXPECT_EQ(slot->adapter(), nullptr);
    for (const auto& slot : adapted.model->places().parameters) EXPECT_FALSE(slot.tensor->requires_grad()) << slot.name;
    adapted.attachment.reset();  // the model stands alone
    EXPECT_TRUE(at::equal(adapted.logits(batch_), after));
  }
}

TEST_P(MethodConformance, SavedStateGivesTheSameOutputsInAnotherModel) {
  const auto first = adapted();
  first.train(batch_, 2), first.disturb(5);
  const auto second = adapt(GetParam(), "", "qwen2", testing::kDense, /*seed=*/99);
  load_state(*second.attachment, copied(*first.attachment), "adapter");
  EXPECT_TRUE(at::equal(second.logits(batch_), first.logits(batch_)));
  for (const auto& [name, tensor] : second.trainable()) EXPECT_TRUE(tensor.requires_grad() && tensor.is_leaf()) << name;
}

TEST_P(MethodConformance, AStateThatDoesNotFitIsRefusedByName) {
  const auto adapted = this->adapted();
  const auto good = copied(*adapted.attachment);
  const auto refused = [&](const AdapterState& state) -> std::string {
    try {
      load_state(*adapted.attachment, state, "adapter_model.safetensors");
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "accepted";
  };
  const auto name = good.begin()->first;
  auto lacking = good, further = good, misshapen = good;
  lacking.erase(name);
  further["model.layers.7.stranger"] = at::zeros({2});
  misshapen[name] = at::zeros({3, 5, 2});
  EXPECT_THAT(refused(lacking), HasSubstr(name));
  EXPECT_THAT(refused(further), HasSubstr("model.layers.7.stranger"));
  EXPECT_THAT(refused(misshapen), HasSubstr(name));
  EXPECT_EQ(refused(good), "accepted");
}

TEST_P(MethodConformance, StateSharesMemoryWithTheTrainableTensors) {
  const auto adapted = this->adapted();
  std::set<const void*> saved;
  for (const auto& [name, tensor] : adapted.attachment->state()) saved.insert(tensor.data_ptr());
  for (const auto& [name, tensor] : adapted.trainable()) EXPECT_TRUE(saved.contains(tensor.data_ptr())) << name << " is not saved";
}

TEST_P(MethodConformance, DetachGivesTheBaseBackExactly) {
  for (const auto& storage : storages()) {
    const auto adapted = this->adapted(storage);
    adapted.train(batch_, 2);
    adapted.disturb(3);  // where LibTorch multiplies, bf16 rounds away what two steps of some methods add
    ASSERT_FALSE(at::equal(adapted.logits(batch_), base_logits(batch_, "qwen2", storage)));
    adapted.attachment->detach();
    EXPECT_TRUE(at::equal(adapted.logits(batch_), base_logits(batch_, "qwen2", storage)));
    for (const auto& slot : adapted.model->places().parameters) EXPECT_FALSE(slot.tensor->requires_grad()) << slot.name;
    testing::attach(*adapted.model, GetParam(), testing::method_section(GetParam(), ""), 1);  // there is room again
  }
}

TEST_P(MethodConformance, PublishedConfigLeadsBackToTheSameMethodAndPlaces) {
  const auto first = adapted();
  first.disturb(5);
  const auto published = nlohmann::json::parse(first.attachment->published_config().dump());
  int claimed = 0;
  for (const auto& method : builtin_methods()) claimed += method.from_published(published).has_value();
  EXPECT_EQ(claimed, 1) << published.dump();
  const auto section = spec().from_published(published);
  ASSERT_TRUE(section.has_value()) << published.dump();
  Adapted second{testing::tiny_model("qwen2"), nullptr};
  second.attachment = spec().attach(second.model->places(), *section, AttachContext(99, nullptr, /*from_file=*/true));
  load_state(*second.attachment, copied(*first.attachment), "adapter");
  EXPECT_TRUE(at::equal(second.logits(batch_), first.logits(batch_)));
  EXPECT_EQ(second.attachment->published_config(), first.attachment->published_config());
}

TEST_P(MethodConformance, ResolvedSectionReadsBackAsItself) {
  const auto resolved = spec().resolved(testing::method_section(GetParam(), ""));
  const auto again = ConfigNode::parse(resolved, "resolved");
  ASSERT_NE(again.find("method.name"), nullptr) << resolved;
  EXPECT_EQ(again.find("method.name")->scalar, GetParam());
  EXPECT_EQ(spec().resolved(*again.find("method")), resolved);
  Adapted second{testing::tiny_model("qwen2"), nullptr};
  second.attachment = testing::attach(*second.model, GetParam(), *again.find("method"), 7);
  EXPECT_EQ(second.attachment->published_config(), adapted().attachment->published_config());
}

TEST_P(MethodConformance, AnUnknownOptionIsRefusedWithTheNearestKnownOne) {
  for (const auto& key : options()) {
    if (key == "name" || key.size() < 4) continue;
    auto misspelt = key;
    std::swap(misspelt[1], misspelt[2]);
    if (misspelt == key) continue;
    EXPECT_THAT(testing::refusal(GetParam(), misspelt + ": 1"), AllOf(HasSubstr(misspelt), HasSubstr(key)));
  }
}

TEST_P(MethodConformance, ATargetThatMatchesNothingIsRefusedAndLeavesTheModelAsItWas) {
  if (!has_option("targets")) GTEST_SKIP() << "the method has no option 'targets'";
  Adapted adapted{testing::tiny_model("qwen2"), nullptr};
  EXPECT_THROW(spec().attach(adapted.model->places(), testing::method_section(GetParam(), "targets: [no_such_layer]"), 1), InvalidArgument);
  EXPECT_TRUE(at::equal(adapted.logits(batch_), base_logits(batch_)));
  adapted.attachment = testing::attach(*adapted.model, GetParam(), testing::method_section(GetParam(), ""), 1);
}

TEST_P(MethodConformance, StartDependsOnTheSeedAndOnNothingElse) {
  const auto one = copied(*adapt(GetParam()).attachment), same = copied(*adapt(GetParam()).attachment);
  for (const auto& [name, tensor] : one) EXPECT_TRUE(at::equal(tensor, same.at(name))) << name;
}

TEST_P(MethodConformance, DropoutFollowsItsSeed) {
  if (!has_option("dropout")) GTEST_SKIP() << "the method has no option 'dropout'";
  const auto adapted = this->adapted(testing::kDense, "dropout: 0.3");
  adapted.disturb(3);
  at::NoGradGuard no_gradient;
  const auto one = adapted.loss(batch_, true, 11);
  EXPECT_TRUE(at::equal(adapted.loss(batch_, true, 11), one));
  EXPECT_FALSE(at::equal(adapted.loss(batch_, true, 12), one));
  EXPECT_TRUE(at::equal(adapted.loss(batch_, false, 11), adapted.loss(batch_, false, 12)));  // none outside training
  EXPECT_FALSE(at::equal(adapted.loss(batch_, false, 11), one));
}

std::vector<at::Tensor> gradients(const Adapted& adapted, const testing::TinyBatch& batch, Checkpointing checkpointing) {
  adapted.clear_gradients();
  torch::autograd::backward({adapted.loss(batch, true, 11, checkpointing)});
  std::vector<at::Tensor> all;
  for (const auto& [name, tensor] : adapted.trainable()) all.push_back(tensor.grad().clone());
  return all;
}

TEST_P(MethodConformance, CheckpointingGivesBitIdenticalGradients) {
  for (const auto& storage : {testing::kDense, testing::kDenseBf16, testing::kNf4}) {
    const auto adapted = this->adapted(storage, has_option("dropout") ? "dropout: 0.3" : "");
    adapted.disturb(3);
    const auto plain = gradients(adapted, batch_, Checkpointing::kOff), again = gradients(adapted, batch_, Checkpointing::kEveryLayer);
    for (size_t i = 0; i < plain.size(); ++i) EXPECT_TRUE(at::equal(plain[i], again[i])) << adapted.trainable()[i].first;
  }
}

/// Every value and gradient of a pass is a chain of some 60 operators, each a sum of at most 96 terms in another order: fp32's 2^-24 times
/// 60 · √96 is 2^-15 of the largest value; a difference of two that are nearly alike may lose two bits more.
constexpr double kOnDeviceTolerance = 0x1p-13;

TEST_P(MethodConformance, WorksInADevicesMemory) {
  const auto options = gentle() + (has_option("dropout") ? "\ndropout: 0.3" : "");
  const auto here = adapted(testing::kDense, options), there = adapted(testing::kDense, options);
  for (const auto* one : {&here, &there}) one->disturb(3);
  there.move_to(testing::pretend_device());
  const auto expected = gradients(here, batch_, Checkpointing::kOff), got = gradients(there, batch_, Checkpointing::kOff);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(got[i].device(), testing::pretend_device());
    EXPECT_LT(relative_error(got[i].cpu(), expected[i].to(at::kDouble)), kOnDeviceTolerance) << there.trainable()[i].first;
  }
  EXPECT_LT(relative_error(there.logits(batch_), here.logits(batch_).to(at::kDouble)), kOnDeviceTolerance);
  for (const auto* one : {&here, &there}) one->train_a_run(batch_, 2);
  there.move_to(at::kCPU);  // the adapter comes back as it was there, and works on
  EXPECT_LT(relative_error(there.logits(batch_), here.logits(batch_).to(at::kDouble)), kOnDeviceTolerance);
  if (spec().traits.mergeable) there.attachment->merge(at::kFloat);
}

TEST(Methods, AnUnknownNameIsRefusedWithTheNearestAndAllKnownOnes) {
  try {
    find_method("lroa");
    FAIL() << "found";
  } catch (const InvalidArgument& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("lora"), HasSubstr("bitfit"), HasSubstr("norm_tuning")));
  }
}

}  // namespace
}  // namespace graft::peft
