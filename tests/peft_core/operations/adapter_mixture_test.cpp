#include "peft_core/operations/adapter_mixture.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/base/error.h"
#include "tests/peft_core/methods/method_fixture.h"

namespace graft::testing {
namespace {

using peft::AdapterMixture;

/// Attaches `method` with random values in its parameters, the same for the same seed.
AdapterMixture::Attach random_adapter(peft::CausalLm& model, const std::string& method, const std::string& options, uint64_t seed) {
  return [&model, method, options, seed] {
    auto attachment = peft::find_method(method).attach(model.places(), method_section(method, options), peft::AttachContext(seed));
    Adapted view{nullptr, std::move(attachment)};
    view.disturb(seed);
    return std::move(view.attachment);
  };
}

struct Kind {
  std::string method, options;
};
const Kind kLora{"lora", "rank: 4\ntargets: [all-linear, lm_head]"}, kWider{"lora", "rank: 8\nalpha: 8\ntargets: [q_proj, up_proj, down_proj]"},
    kDora{"dora", "rank: 4\ntargets: [v_proj, up_proj]"};

/// A model with several random adapters, and the same model with each of them alone.
struct Mixed {
  explicit Mixed(std::vector<Kind> kinds, const peft::BaseStorage& storage = kDense, const std::string& model_kind = "llama")
      : kinds_(std::move(kinds)), storage_(storage), model_kind_(model_kind), model(tiny_model(model_kind, storage)), mixture(model->places()) {
    for (size_t i = 0; i < kinds_.size(); ++i) mixture.add(name(i), 1, random_adapter(*model, kinds_[i].method, kinds_[i].options, i + 5));
  }
  static std::string name(size_t i) { return std::string(1, static_cast<char>('a' + i)); }

  at::Tensor logits(const TinyBatch& batch, std::shared_ptr<const peft::AdapterChoice> choice = nullptr) const {
    const peft::ForwardContext context{.adapters = std::move(choice)};
    at::NoGradGuard no_gradient;
    return model->logits(model->hidden_states(batch.stream(), context), context);
  }
  at::Tensor logits_alone(size_t i, const TinyBatch& batch) const {
    const Adapted alone{tiny_model(model_kind_, storage_), nullptr};
    const auto attachment = random_adapter(*alone.model, kinds_[i].method, kinds_[i].options, i + 5)();
    return alone.logits(batch);
  }

  std::vector<Kind> kinds_;
  peft::BaseStorage storage_;
  std::string model_kind_;
  std::unique_ptr<peft::CausalLm> model;
  AdapterMixture mixture;
};

double apart(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

TEST(AdapterMixture, GivesTheBitsOfTheOneAdapterThatIsChosen) {
  for (const auto& storage : {kDense, kDenseBf16, kNf4, kBlocks}) {
    const Mixed mixed({kLora, kDora}, storage);
    const auto batch = tiny_batch();
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_TRUE(mixed.logits(batch, mixed.mixture.choose({{Mixed::name(i), 1.0}})).equal(mixed.logits_alone(i, batch))) << i;
    }
    EXPECT_GT(apart(mixed.logits_alone(0, batch), mixed.logits_alone(1, batch)), 0.01) << "the comparison is void";
  }
}

TEST(AdapterMixture, GivesTheBitsOfTheBaseWhereNoneIsChosen) {
  const Mixed mixed({kLora, kDora});
  const Adapted base{tiny_model("llama"), nullptr};
  EXPECT_TRUE(mixed.logits(tiny_batch(), mixed.mixture.choose(AdapterMixture::Weights{})).equal(base.logits(tiny_batch())));
}

// The logits with all adapters have to be those of the model into whose weights the updates are added. Two orders of fp32 sums over two layers
// of width 64: as in the merging case of the conformance suite, 2e-4 of logits of size 3.
TEST(AdapterMixture, SumsUpdatesWithTheirWeights) {
  for (const auto& kinds : {std::vector{kLora, kWider}, std::vector{kLora, kDora, kWider}}) {
    Mixed mixed(kinds);
    AdapterMixture::Weights weights;
    const std::vector<double> values = {0.7, -0.4, 1.5};
    for (size_t i = 0; i < kinds.size(); ++i) weights[Mixed::name(i)] = values[i];
    const auto chosen = mixed.logits(tiny_batch(), mixed.mixture.choose(weights));
    mixed.mixture.set_weights(weights);
    EXPECT_TRUE(chosen.equal(mixed.logits(tiny_batch()))) << "weights of the pass and weights of the mixture mean the same";
    mixed.mixture.merge(at::kFloat);
    EXPECT_LT(apart(chosen, mixed.logits(tiny_batch())), 2e-4);
  }
}

/// A LoRA and an adapter of any method that changes linear layers only: side by side they are what merging both gives.
class MixtureOfMethod : public ::testing::TestWithParam<std::string> {};

TEST_P(MixtureOfMethod, SumsItWithALora) {
  const auto& method = peft::find_method(GetParam());
  if (!method.traits.mergeable) GTEST_SKIP() << "cannot be merged, so there is nothing to compare with";
  const auto model = tiny_model("qwen2");  // biases, which some methods change
  const TinyCalibration calibration(*model);
  AdapterMixture mixture(model->places());
  mixture.add("lora", 0.5, random_adapter(*model, "lora", "rank: 4", 5));
  try {
    mixture.add("other", -0.5, [&] {
      Adapted view{nullptr, method.attach(model->places(), method_section(method.name, ""), peft::AttachContext(6, &calibration))};
      view.disturb(6);
      return std::move(view.attachment);
    });
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("cannot stand beside others"), std::string::npos) << error.what();
    return;
  }
  const auto logits = [&] {
    at::NoGradGuard no_gradient;
    return model->logits(model->hidden_states(tiny_batch().stream(), {}));
  };
  const auto apart_from_weights = logits();
  mixture.merge(at::kFloat);
  EXPECT_LT(apart(apart_from_weights, logits()), 1e-3);
}

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const auto& method : peft::builtin_methods()) names.push_back(method.name);
  return names;
}

std::string name_of_case(const ::testing::TestParamInfo<std::string>& info) { return info.param; }

INSTANTIATE_TEST_SUITE_P(Methods, MixtureOfMethod, ::testing::ValuesIn(method_names()), name_of_case);

TEST(AdapterMixture, GivesEverySequenceItsOwnAdapters) {
  for (const auto& kinds : {std::vector{kLora, kWider}, std::vector{kLora, kDora}}) {
    const Mixed mixed(kinds);
    const auto batch = tiny_batch({7, 1, 12, 3});
    const std::vector<AdapterMixture::Weights> of_sequences = {{{"b", 1.0}}, {}, {{"a", 1.0}, {"b", 0.5}}, {{"a", 1.0}}};
    const auto together = mixed.logits(batch, mixed.mixture.choose(of_sequences, batch.lengths));
    int64_t begin = 0;
    for (size_t s = 0; s < 4; ++s) {
      TinyBatch one{.ids = {batch.ids.begin() + begin, batch.ids.begin() + begin + batch.lengths[s]}, .lengths = {batch.lengths[s]}, .targets = {}};
      const auto alone = mixed.logits(one, mixed.mixture.choose(of_sequences[s]));
      EXPECT_LT(apart(together.narrow(0, begin, batch.lengths[s]), alone), 2e-4) << "sequence " << s;
      begin += batch.lengths[s];
    }
  }
}

TEST(AdapterMixture, WritesTextWithTheAdaptersOfEverySequence) {
  const Mixed mixed({kLora, kWider});
  const std::vector<AdapterMixture::Weights> of_sequences = {{{"b", 1.0}}, {{"a", 1.0}}};
  const auto batch = tiny_batch({6, 4});
  const auto whole = mixed.logits(batch, mixed.mixture.choose(of_sequences, batch.lengths));
  auto first = mixed.model->cache_for(8), second = mixed.model->cache_for(8);
  peft::SequenceCache* caches[] = {&first, &second};
  const auto extend = [&](const std::vector<int32_t>& ids, const std::vector<int32_t>& lengths) {
    const peft::ForwardContext context{.adapters = mixed.mixture.choose(of_sequences, lengths)};
    return mixed.model->logits(mixed.model->extend(peft::TokenStream::of(ids, lengths), caches, context), context);
  };
  const auto& ids = batch.ids;
  extend({ids[0], ids[1], ids[2], ids[3], ids[4], ids[6], ids[7], ids[8]}, {5, 3});
  const auto last = extend({ids[5], ids[9]}, {1, 1});
  EXPECT_LT(apart(last.select(0, 0), whole.select(0, 5)), 2e-4);
  EXPECT_LT(apart(last.select(0, 1), whole.select(0, 9)), 2e-4);
}

// Each adapter gets the gradient that it would get alone from the sequences that chose it.
TEST(AdapterMixture, TrainsEveryAdapterWithItsOwnRows) {
  for (const auto checkpointing : {peft::Checkpointing::kOff, peft::Checkpointing::kEveryLayer})
    for (const auto& kinds : {std::vector{kLora, kWider}, std::vector{kWider, kDora}}) {
      const Mixed mixed(kinds);
      const auto batch = tiny_batch({9, 11});
      const std::vector<AdapterMixture::Weights> of_sequences = {{{"a", 1.0}}, {{"b", 1.0}}};
      const auto backward = [&](std::span<const AdapterMixture::Weights> weights, const at::Tensor& targets) {
        for (const auto& group : mixed.mixture.trainable())
          for (auto [name, tensor] : group.parameters) tensor.mutable_grad() = at::Tensor();
        const peft::ForwardContext context{.training = true, .dropout_seed = 3, .adapters = mixed.mixture.choose(weights, batch.lengths)};
        torch::autograd::backward({mixed.model->loss_sum(mixed.model->hidden_states(batch.stream(), context, checkpointing), targets, context)});
        std::map<std::string, at::Tensor> gradients;
        for (const auto& group : mixed.mixture.trainable())
          for (const auto& [name, tensor] : group.parameters)
            gradients[name] = tensor.grad().defined() ? tensor.grad().clone() : at::zeros_like(tensor);
        return gradients;
      };
      const auto together = backward(of_sequences, batch.targets);
      for (size_t i = 0; i < 2; ++i) {
        auto targets = batch.targets.clone();  // only the sequence that chose this adapter counts
        targets.narrow(0, i == 0 ? 9 : 0, i == 0 ? 11 : 9).fill_(-1);
        const std::vector<AdapterMixture::Weights> alone(2, AdapterMixture::Weights{{Mixed::name(i), 1.0}});
        double largest = 0;
        for (const auto& [name, gradient] : backward(alone, targets)) {
          if (!name.starts_with(Mixed::name(i))) continue;
          // Sums of some 10 rows in another order: 1e-5 of the gradient's size.
          EXPECT_LT(apart(gradient, together.at(name)), 1e-5 * (1 + gradient.abs().max().item<double>())) << name;
          largest = std::max(largest, gradient.abs().max().item<double>());
        }
        EXPECT_GT(largest, 1e-3);
      }
    }
}

TEST(AdapterMixture, RefusesWhatCannotStandBesideOthersAndLeavesTheModelAsItWas) {
  Mixed mixed({kLora}, kDense, "qwen2");
  const auto before = mixed.logits(tiny_batch());
  const auto refusal_of = [&](const std::string& name, const Kind& kind) -> std::string {
    try {
      mixed.mixture.add(name, 1, random_adapter(*mixed.model, kind.method, kind.options, 9));
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_NE(refusal_of("biases", {"bitfit", ""}).find("linear layers only"), std::string::npos);
  EXPECT_NE(refusal_of("a", kWider).find("two adapters are called 'a'"), std::string::npos);
  EXPECT_NE(refusal_of("../a", kWider).find("cannot be the name"), std::string::npos);
  EXPECT_NE(refusal_of("b", {"lora", "rank: 4000"}).find("does not fit"), std::string::npos);
  EXPECT_TRUE(mixed.logits(tiny_batch()).equal(before));
  EXPECT_THROW(mixed.mixture.choose({{"z", 1.0}}), InvalidArgument);
  const std::vector<AdapterMixture::Weights> three(3);
  EXPECT_THROW(mixed.mixture.choose(three, std::vector<int32_t>{1, 2}), InvalidArgument);
  EXPECT_THROW(mixed.logits(tiny_batch({3, 4}), mixed.mixture.choose(three, std::vector<int32_t>{1, 2, 3})), InvalidArgument)
      << "a choice for six rows in a pass of seven";
}

TEST(AdapterMixture, DropsInputsOfEveryAdapterByItself) {
  const Mixed mixed({{"lora", "rank: 4\ndropout: 0.5"}, {"lora", "rank: 4\ndropout: 0.5"}});
  const auto loss = [&](uint64_t seed, const std::shared_ptr<const peft::AdapterChoice>& choice) {
    const peft::ForwardContext context{.training = true, .dropout_seed = seed, .adapters = choice};
    return mixed.model->loss_sum(mixed.model->hidden_states(tiny_batch().stream(), context), tiny_batch().targets, context).item<double>();
  };
  const auto both = mixed.mixture.choose({{"a", 1.0}, {"b", 1.0}});
  EXPECT_EQ(loss(1, both), loss(1, both));
  EXPECT_NE(loss(1, both), loss(2, both));
}

TEST(AdapterMixture, DetachingGivesTheBaseBack) {
  Mixed mixed({kLora, kDora});
  mixed.mixture.detach();
  const Adapted base{tiny_model("llama"), nullptr};
  EXPECT_TRUE(mixed.logits(tiny_batch()).equal(base.logits(tiny_batch())));
}

}  // namespace
}  // namespace graft::testing
