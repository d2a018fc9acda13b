#include "peft_core/backbones/causal_lm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <omp.h>

#include <cmath>

#include "kernels/base/error.h"
#include "peft_core/memory/activation_checkpoint.h"
#include "tests/support/gradcheck.h"
#include "tests/support/tiny_decoder.h"

namespace graft::peft {
namespace {

using testing::relative_error;
using testing::tiny_batch;
using testing::tiny_config;
using testing::tiny_model;
using testing::TinyBatch;
using testing::TinyWeights;
using ::testing::HasSubstr;

constexpr double kUnit32 = 0x1p-24;

// Two layers of products of up to 96 terms: each errs by about 4√n u of its result, seven of them and the softmax in a row a layer, then
// the head; errors add like a random walk and norms keep the scale: √16 × 40u.
constexpr double kModelError = 160 * kUnit32;

class Decoders : public ::testing::TestWithParam<const char*> {
 protected:
  std::string kind() const { return GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Kinds, Decoders, ::testing::Values("qwen2", "qwen3", "llama", "mistral"),
                         [](const auto& instance) { return instance.param; });

at::Tensor logits(const CausalLm& model, const TinyBatch& batch) { return model.logits(model.hidden_states(batch.stream(), {})); }

TinyBatch one_sequence(const TinyBatch& batch, size_t which) {
  int64_t start = 0;
  for (size_t s = 0; s < which; ++s) start += batch.lengths[s];
  const auto length = batch.lengths[which];
  return {{batch.ids.begin() + start, batch.ids.begin() + start + length}, {length}, batch.targets.narrow(0, start, length)};
}

TEST_P(Decoders, LogitsEqualFloat64) {
  const auto config = tiny_config(kind());
  const auto weights = testing::in_float64(TinyWeights(config, 1).tensors());
  for (const auto& lengths : std::vector<std::vector<int32_t>>{{1}, {7, 1, 12}, {129, 40}}) {
    const auto batch = tiny_batch(lengths);
    EXPECT_LT(relative_error(logits(*tiny_model(kind()), batch), testing::reference_logits(config, weights, batch)), kModelError);
  }
}

TEST_P(Decoders, GradientsOfNormsAndBiasesEqualFloat64) {
  const auto config = tiny_config(kind());
  auto weights = testing::in_float64(TinyWeights(config, 1).tensors());
  const auto model = tiny_model(kind());
  const auto batch = tiny_batch();
  for (const auto& slot : model->places().parameters) slot.tensor->requires_grad_(), weights.at(slot.name).requires_grad_();
  const auto loss = model->loss_sum(model->hidden_states(batch.stream(), {}), batch.targets);
  torch::autograd::backward({loss});
  const auto rows = batch.targets.ge(0).nonzero().squeeze(1);
  const auto p = at::log_softmax(testing::reference_logits(config, weights, batch), 1).index_select(0, rows);
  const auto expected = -p.gather(1, batch.targets.index_select(0, rows).unsqueeze(1)).sum();
  torch::autograd::backward({expected});
  EXPECT_LT(relative_error(loss, expected), kModelError);
  for (const auto& slot : model->places().parameters)
    EXPECT_LT(relative_error(slot.tensor->grad(), weights.at(slot.name).grad()), 4 * kModelError) << slot.name;  // the way back as well
}

TEST_P(Decoders, PackedSequencesEqualTheSameSequencesAlone) {
  const auto model = tiny_model(kind());
  const auto batch = tiny_batch({7, 1, 130, 12});
  const auto packed = logits(*model, batch);
  int64_t start = 0;
  for (size_t s = 0; s < batch.lengths.size(); ++s) {
    const auto alone = logits(*model, one_sequence(batch, s));
    // Another number of rows may take another path through the matrix product: both err by kModelError.
    EXPECT_LT(relative_error(packed.narrow(0, start, batch.lengths[s]), alone.to(at::kDouble)), 2 * kModelError) << s;
    start += batch.lengths[s];
  }
}

TEST_P(Decoders, ChangingASequenceChangesNoOther) {
  const auto model = tiny_model(kind());
  auto batch = tiny_batch({7, 5, 12});
  const auto before = logits(*model, batch);
  for (size_t i = 7; i < 12; ++i) batch.ids[i] = (batch.ids[i] + 50) % 131;
  const auto after = logits(*model, batch);
  for (const auto& [begin, count] : {std::pair<int64_t, int64_t>{0, 7}, {12, 12}})
    EXPECT_TRUE(at::equal(before.narrow(0, begin, count), after.narrow(0, begin, count)));
  EXPECT_FALSE(at::equal(before.narrow(0, 7, 5), after.narrow(0, 7, 5)));
}

TEST_P(Decoders, NoTokenSeesALaterOne) {
  const auto model = tiny_model(kind());
  auto batch = tiny_batch({20});
  const auto before = logits(*model, batch);
  batch.ids[13] = (batch.ids[13] + 50) % 131;
  const auto after = logits(*model, batch);
  EXPECT_TRUE(at::equal(before.narrow(0, 0, 13), after.narrow(0, 0, 13)));
  EXPECT_FALSE(at::equal(before.narrow(0, 13, 7), after.narrow(0, 13, 7)));
}

TEST(CausalLm, AWindowHidesWhatLiesFurtherBack) {
  // Two layers of a window of 5 reach back 8 tokens.
  const auto model = tiny_model("mistral");
  auto batch = tiny_batch({20});
  const auto before = logits(*model, batch);
  batch.ids[0] = (batch.ids[0] + 50) % 131;
  const auto after = logits(*model, batch);
  EXPECT_TRUE(at::equal(before.narrow(0, 9, 11), after.narrow(0, 9, 11)));
  EXPECT_FALSE(at::equal(before[8], after[8]));
}

TEST_P(Decoders, ExtendingCachesEqualsHiddenStates) {
  const auto model = tiny_model(kind());
  const auto whole = tiny_batch({20, 9});
  const auto expected = model->hidden_states(whole.stream(), {});
  auto first = SequenceCache::with_capacity(model->config(), 20, at::kFloat), second = SequenceCache::with_capacity(model->config(), 9, at::kFloat);
  SequenceCache* const both[] = {&first, &second};
  SequenceCache* const one[] = {&first};
  const auto ids = std::span(whole.ids);
  const auto expect_rows = [&](const at::Tensor& hidden, int64_t begin) {
    EXPECT_LT(relative_error(hidden, expected.narrow(0, begin, hidden.size(0)).to(at::kDouble)), 2 * kModelError) << begin;
  };
  // A prompt of both, then both by one token, then the first alone: a piece, and single tokens.
  std::vector<int32_t> prompt(ids.begin(), ids.begin() + 6);
  prompt.insert(prompt.end(), ids.begin() + 20, ids.begin() + 28);
  const auto hidden = model->extend(TokenStream::of(prompt, std::vector<int32_t>{6, 8}), both);
  expect_rows(hidden.narrow(0, 0, 6), 0);
  expect_rows(hidden.narrow(0, 6, 8), 20);
  const auto next = model->extend(TokenStream::of(std::vector<int32_t>{ids[6], ids[28]}, std::vector<int32_t>{1, 1}), both);
  expect_rows(next.narrow(0, 0, 1), 6);
  expect_rows(next.narrow(0, 1, 1), 28);
  expect_rows(model->extend(TokenStream::of(ids.subspan(7, 9), std::vector<int32_t>{9}), one), 7);
  for (int64_t i = 16; i < 20; ++i)
    expect_rows(model->extend(TokenStream::of(ids.subspan(static_cast<size_t>(i), 1), std::vector<int32_t>{1}), one), i);
  EXPECT_EQ(first.length, 20);
  EXPECT_EQ(second.length, 9);
}

/// Whole sequences, and the same in pieces through a cache.
void expect_extending_equals_hidden_states(const CausalLm& model, const std::vector<int32_t>& ids) {
  const auto length = static_cast<int32_t>(ids.size());
  const auto expected = model.hidden_states(TokenStream::of(ids, std::vector<int32_t>{length}), {});
  auto cache = model.cache_for(length);
  SequenceCache* const one[] = {&cache};
  const auto all = std::span(ids);
  const auto start = model.extend(TokenStream::of(all.first(4), std::vector<int32_t>{4}), one);
  const auto rest = model.extend(TokenStream::of(all.subspan(4), std::vector<int32_t>{length - 4}), one);
  EXPECT_LT(relative_error(at::cat({start, rest}), expected.to(at::kDouble)), 2 * kModelError);
}

TEST_P(Decoders, APromptOfTokensVectorsIsThoseTokens) {
  const auto model = tiny_model(kind());
  const std::vector<int32_t> head{5, 90, 17}, ids{8, 3, 77, 4, 60, 21};
  auto whole = head;
  whole.insert(whole.end(), ids.begin(), ids.end());
  const auto expected = model->hidden_states(TokenStream::of(whole, std::vector<int32_t>{9}), {});
  model->places().prompt->tokens() = model->embedding()->gather(at::tensor({5, 90, 17}, at::kLong), at::kFloat);
  // Twice, so that both sequences of a stream get it.
  auto twice = ids;
  twice.insert(twice.end(), ids.begin(), ids.end());
  const auto prompted = model->hidden_states(TokenStream::of(twice, std::vector<int32_t>{6, 6}), {});
  for (const int64_t begin : {0, 6})
    EXPECT_LT(relative_error(prompted.narrow(0, begin, 6), expected.narrow(0, 3, 6).to(at::kDouble)), 2 * kModelError);
  expect_extending_equals_hidden_states(*model, ids);
}

TEST_P(Decoders, APrefixIsSeenByEveryTokenAndByTheCache) {
  const auto model = tiny_model(kind());
  const std::vector<int32_t> ids{8, 3, 77, 4, 60, 21};
  const auto plain = model->hidden_states(TokenStream::of(ids, std::vector<int32_t>{6}), {});
  const auto& config = model->config();
  uint64_t seed = 1;
  for (auto* prefix : model->places().prefixes) {
    at::manual_seed(seed++);
    prefix->keys = at::randn({2, config.key_value_heads, config.head_size});
    prefix->values = at::randn({2, config.key_value_heads, config.head_size});
  }
  const auto hidden = model->hidden_states(TokenStream::of(ids, std::vector<int32_t>{6}), {});
  EXPECT_EQ(hidden.sizes(), plain.sizes());
  EXPECT_GT((hidden - plain).abs().amax({1}).min().item<float>(), 1e-3f);
  expect_extending_equals_hidden_states(*model, ids);
}

TEST_P(Decoders, AnActivationAdapterStandsBetweenABlockAndTheStream) {
  struct Silence final : public ActivationAdapter {
    at::Tensor forward(const at::Tensor& h, const ActivationCall& call) const override {
      seen = {call.lengths.begin(), call.lengths.end()};
      return at::zeros_like(h);
    }
    NamedTensors parameters() const override { return {}; }
    mutable std::vector<int32_t> seen;
  };
  const auto model = tiny_model(kind());
  const auto batch = tiny_batch();
  const auto silence = std::make_shared<Silence>();
  for (auto* slot : model->places().activations) slot->attach(silence);
  EXPECT_THROW(model->places().activations[0]->attach(silence), InvalidArgument);
  // With every block silenced, the stream is what entered it.
  const auto embedded = model->embedding()->gather(batch.stream().ids, at::kFloat);
  EXPECT_TRUE(at::equal(model->hidden_states(batch.stream(), {}), embedded));
  EXPECT_EQ(silence->seen, batch.lengths);
  EXPECT_EQ(model->places().activations[1]->name(), "model.layers.0.mlp");
}

TEST_P(Decoders, LossIsTheSumOfTargetNllAndOfLogSoftmaxOfLogits) {
  for (const auto& storage : {testing::kDense, testing::kNf4, testing::kBlocks}) {
    const auto model = tiny_model(kind(), storage);
    const auto batch = tiny_batch();
    const auto hidden = model->hidden_states(batch.stream(), {});
    const auto rows = batch.targets.ge(0).nonzero().squeeze(1);
    at::Tensor best;
    const auto nll = model->target_nll(hidden, batch.targets, &best);
    const auto all = model->logits(hidden).index_select(0, rows);
    const auto expected = -at::log_softmax(all.to(at::kDouble), 1).gather(1, batch.targets.index_select(0, rows).unsqueeze(1)).squeeze(1);
    // One product of 64 terms apart, and a sum of exponentials.
    EXPECT_LT(relative_error(nll, expected), 64 * kUnit32);
    EXPECT_LT(relative_error(model->loss_sum(hidden, batch.targets), expected.sum()), 64 * kUnit32);
    EXPECT_TRUE(at::equal(best, all.argmax(1)));
  }
}

TEST_P(Decoders, WithoutTargetsTheLossIsZeroAndDifferentiable) {
  const auto model = tiny_model(kind());
  model->places().parameters.front().tensor->requires_grad_();
  const auto batch = tiny_batch();
  const auto none = at::full_like(batch.targets, -1);
  const auto hidden = model->hidden_states(batch.stream(), {});
  const auto loss = model->loss_sum(hidden, none);
  EXPECT_EQ(loss.item<float>(), 0.0f);
  torch::autograd::backward({loss});
  EXPECT_EQ(model->target_nll(hidden, none).numel(), 0);
}

TEST_P(Decoders, CheckpointingGivesTheSameLossAndGradients) {
  const auto batch = tiny_batch();
  std::vector<at::Tensor> results[2];
  for (const int again : {0, 1}) {
    const auto model = tiny_model(kind());
    for (const auto& slot : model->places().parameters) slot.tensor->requires_grad_();
    const auto hidden = model->hidden_states(batch.stream(), {}, again == 0 ? Checkpointing::kOff : Checkpointing::kEveryLayer);
    const auto loss = model->loss_sum(hidden, batch.targets);
    torch::autograd::backward({loss});
    results[again].push_back(loss.detach());
    for (const auto& slot : model->places().parameters) results[again].push_back(slot.tensor->grad());
  }
  for (size_t i = 0; i < results[0].size(); ++i) EXPECT_TRUE(at::equal(results[0][i], results[1][i])) << i;
}

TEST_P(Decoders, NumbersAreTheSameForOneAndTwoThreadsAndRunToRun) {
  const auto batch = tiny_batch({130, 60});
  const auto run = [&](int threads) {
    at::set_num_threads(threads);
    omp_set_num_threads(threads);
    const auto model = tiny_model(kind());
    for (const auto& slot : model->places().parameters) slot.tensor->requires_grad_();
    const auto loss = model->loss_sum(model->hidden_states(batch.stream(), {}), batch.targets);
    torch::autograd::backward({loss});
    std::vector<at::Tensor> all{loss.detach()};
    for (const auto& slot : model->places().parameters) all.push_back(slot.tensor->grad());
    return all;
  };
  const int before = at::get_num_threads();
  const auto one = run(1), two = run(2), again = run(2);
  at::set_num_threads(before);
  omp_set_num_threads(before);
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_TRUE(at::equal(two[i], again[i])) << "run to run " << i;
    EXPECT_TRUE(at::equal(one[i], two[i])) << "threads " << i << ": " << relative_error(two[i], one[i].to(at::kDouble));
  }
}

TEST_P(Decoders, Bf16LogitsAreNearFp32s) {
  // Some 16 roundings in a row of 2^-8 / √3, independent: √16 × 0.23 % of the logits' scale as a mean, four times that at worst.
  const auto batch = tiny_batch();
  EXPECT_LT(relative_error(logits(*tiny_model(kind(), testing::kDenseBf16), batch), logits(*tiny_model(kind()), batch).to(at::kDouble)), 0.037);
}

TEST_P(Decoders, PlacesAreAllNamedAsPublished) {
  const auto model = tiny_model(kind());
  const TinyWeights weights(tiny_config(kind()), 1);
  const auto& places = model->places();
  EXPECT_EQ(places.linears.size(), 14u);
  EXPECT_EQ(places.head->name(), "lm_head");
  size_t named = 1;  // the embedding
  for (const auto* slot : places.linears) EXPECT_TRUE(weights.has(slot->name() + ".weight")) << slot->name();
  for (const auto& slot : places.parameters) {
    ASSERT_TRUE(weights.has(slot.name)) << slot.name;
    EXPECT_TRUE(at::equal(*slot.tensor, weights.small(slot.name))) << slot.name;
  }
  named += places.linears.size() + places.parameters.size() + !model->config().tied_head;
  TinyWeights all = weights;
  EXPECT_EQ(named, all.tensors().size()) << "a tensor of the checkpoint has no place";
  EXPECT_EQ(model->frozen_matrices().size(), 15u + !model->config().tied_head);
}

TEST(CausalLm, StorageIsAsAskedAndTheEmbeddingNeverNf4) {
  const auto model = tiny_model("llama", testing::kNf4);
  for (const auto& [name, base] : model->frozen_matrices()) EXPECT_EQ(base->storage(), name == "model.embed_tokens" ? "fp32" : "nf4") << name;
  for (const auto& [name, base] : tiny_model("qwen2", testing::kBlocks)->frozen_matrices()) EXPECT_EQ(base->storage(), "Q8_0") << name;
  for (const auto& [name, base] : tiny_model("qwen2", testing::kDenseBf16)->frozen_matrices()) EXPECT_EQ(base->storage(), "bf16") << name;
}

TEST(CausalLm, TokensOutsideTheVocabularyAreRefused) {
  const auto model = tiny_model("llama");
  for (const int32_t id : {-1, 131, 1 << 30}) {
    const auto stream = TokenStream::of(std::vector<int32_t>{3, id}, std::vector<int32_t>{2});
    EXPECT_THROW(model->hidden_states(stream, {}), InvalidArgument) << id;
    auto cache = SequenceCache::with_capacity(model->config(), 4, at::kFloat);
    SequenceCache* const caches[] = {&cache};
    EXPECT_THROW(model->extend(stream, caches), InvalidArgument);
    EXPECT_EQ(cache.length, 0);
  }
}

TEST(CausalLm, NoTokensGiveNoRows) {
  const auto model = tiny_model("llama");
  const auto hidden = model->hidden_states(TokenStream::of({}, {}), {});
  EXPECT_EQ(hidden.sizes(), at::IntArrayRef({0, 64}));
  EXPECT_EQ(model->logits(hidden).sizes(), at::IntArrayRef({0, 131}));
}

TEST(CausalLm, TensorsThatAreMissingOrMisshapenAreNamed) {
  for (const auto* kind : {"qwen2", "qwen3"}) {
    const auto config = tiny_config(kind);
    const TinyWeights whole(config, 1);
    for (const auto& [name, tensor] : whole.tensors()) {
      TinyWeights lacking(config, 1), misshapen(config, 1);
      lacking.tensors().erase(name);
      misshapen.tensors()[name] = at::zeros({3, 3});
      if (!name.ends_with(".bias")) {
        EXPECT_THROW(CausalLm(config, lacking, testing::kDense), IoError) << name;
      }
      try {
        CausalLm(config, misshapen, testing::kDense);
        ADD_FAILURE() << name << " accepted";
      } catch (const InvalidArgument& error) {
        EXPECT_THAT(error.what(), HasSubstr(name));
      }
    }
  }
}

TEST(TokenStream, CountsPositionsFromZeroInEverySequence) {
  const auto stream = TokenStream::of(std::vector<int32_t>{5, 6, 7, 8, 9}, std::vector<int32_t>{2, 0, 3});
  EXPECT_TRUE(at::equal(stream.positions, at::tensor({0, 1, 0, 1, 2}, at::kLong)));
  EXPECT_TRUE(at::equal(stream.ids, at::tensor({5, 6, 7, 8, 9}, at::kLong)));
}

TEST(ActivationCheckpoint, RunsTheBlockAgainAndGivesLeavesAndInputTheirGradients) {
  int runs = 0;
  const auto weight = at::full({3}, 2.0).requires_grad_();
  const auto x = at::tensor({1.0f, 2.0f, 3.0f}).requires_grad_();
  const auto y = checkpointed([&](const at::Tensor& in) { return ++runs, in * in * weight; }, x);
  EXPECT_EQ(runs, 1);
  torch::autograd::backward({y.sum()});
  EXPECT_EQ(runs, 2);
  EXPECT_TRUE(at::equal(x.grad(), at::tensor({4.0f, 8.0f, 12.0f})));
  EXPECT_TRUE(at::equal(weight.grad(), at::tensor({1.0f, 4.0f, 9.0f})));
}

TEST(ActivationCheckpoint, KeepsNoActivationOfTheBlock) {
  using Weak = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;
  Weak inside(at::empty({0}).getIntrusivePtr());
  const auto x = at::ones({8}).requires_grad_();
  const auto y = checkpointed(
      [&](const at::Tensor& in) {
        const auto middle = at::exp(in);  // exp keeps its result for its gradient
        inside = Weak(middle.getIntrusivePtr());
        return middle * middle;
      },
      x);
  EXPECT_TRUE(inside.expired());
  torch::autograd::backward({y.sum()});
  EXPECT_LT(relative_error(x.grad(), at::full({8}, 2 * std::exp(2.0), at::kDouble)), 8 * kUnit32);
}

}  // namespace
}  // namespace graft::peft
