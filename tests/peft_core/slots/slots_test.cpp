#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <cmath>
#include <set>

#include "kernels/base/error.h"
#include "kernels/gguf_blocks/gguf_blocks.h"
#include "peft_core/slots/expansion_scratch.h"
#include "peft_core/slots/frozen_linear.h"
#include "peft_core/slots/linear_slot.h"
#include "peft_core/slots/quantized_linear.h"
#include "peft_core/slots/targets.h"
#include "tests/support/gradcheck.h"
#include "tests/support/tiny_decoder.h"

namespace graft::peft {
namespace {

using testing::relative_error;
using testing::Tensors;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kUnit32 = 0x1p-24, kUnit16 = 0x1p-8;

at::Tensor weight_of(int64_t out, int64_t in) {
  at::manual_seed(static_cast<uint64_t>(out * 1000 + in));
  return at::randn({out, in}) * 0.2;
}

struct Base {
  std::string name;
  std::function<std::shared_ptr<FrozenLinear>(const at::Tensor& weight)> make;
  double stored_error;  ///< of the stored weight against the given one, over its largest value
};

/// NF4 at an even grid of 16 values: at most half the widest gap (0.30 of the block's largest), plus double quantisation of the scale.
const std::vector<Base>& bases() {
  static const std::vector<Base> all = {
      {"fp32", [](const at::Tensor& w) { return dense_linear(w); }, 0},
      {"bf16", [](const at::Tensor& w) { return dense_linear(w.to(at::kBFloat16)); }, kUnit16},
      {"nf4", [](const at::Tensor& w) { return nf4_linear(w); }, 0.17},
      {"Q8_0", [](const at::Tensor& w) { return testing::q8_0_linear(w); }, 0.5 / 127 + 0x1p-11},  // half a step, fp16 scale
  };
  return all;
}

class Bases : public ::testing::TestWithParam<size_t> {
 protected:
  const Base& base() const { return bases()[GetParam()]; }
};
INSTANTIATE_TEST_SUITE_P(Kinds, Bases, ::testing::Range<size_t>(0, 4), [](const auto& instance) { return bases()[instance.param].name; });

// 96 and 160 are no multiples of NF4's block of 64, so that blocks run over row borders; 1 and 131 rows.
const std::vector<std::pair<int64_t, int64_t>> kShapes = {{1, 64}, {131, 64}, {7, 96}, {64, 160}, {33, 32}};

TEST_P(Bases, StoreTheWeightAsWellAsTheirFormatCan) {
  for (const auto& [out, in] : kShapes) {
    const auto weight = weight_of(out, in);
    const auto linear = base().make(weight);
    EXPECT_EQ(linear->out_features(), out);
    EXPECT_EQ(linear->in_features(), in);
    EXPECT_EQ(linear->storage(), base().name);
    EXPECT_LE(relative_error(linear->weight(), weight.to(at::kDouble)), base().stored_error) << out << " x " << in;
    EXPECT_EQ(linear->weight().scalar_type(), at::kFloat);
  }
}

/// A product of up to 160 terms: 4√n u of its terms. bf16: weight and result are rounded, errors of the weight average out. Of the largest
/// result, or of a typical one where all happen to be small.
double product_tolerance(at::ScalarType dtype) { return dtype == at::kFloat ? 64 * kUnit32 : 3 * kUnit16; }
double typical_product(int64_t terms) { return 0.2 * std::sqrt(static_cast<double>(terms)); }

/// Up to 8 rows are multiplied with the weight as it is stored, more of them another way; 40 begin a second block of matrix units.
constexpr int64_t kRows[] = {0, 1, 3, 8, 9, 40};

TEST_P(Bases, BothProductsAreThoseOfTheStoredWeight) {
  for (const auto& [out, in] : kShapes)
    for (const auto dtype : {at::kFloat, at::kBFloat16})
      for (const int64_t rows : kRows) {
        const auto linear = base().make(weight_of(out, in));
        const auto stored = linear->weight().to(at::kDouble);
        at::manual_seed(5);
        const auto x = at::randn({rows, in}).to(dtype), g = at::randn({rows, out}).to(dtype);
        const auto y = linear->project(x), dx = linear->project_back(g);
        ASSERT_EQ(y.sizes(), at::IntArrayRef({rows, out}));
        EXPECT_EQ(y.scalar_type(), dtype);
        EXPECT_LE(relative_error(y, at::mm(x.to(at::kDouble), stored.t()), typical_product(in)), product_tolerance(dtype)) << rows << " rows";
        EXPECT_LE(relative_error(dx, at::mm(g.to(at::kDouble), stored), typical_product(out)), product_tolerance(dtype)) << rows << " rows";
      }
}

TEST(DenseLinear, OnePackedCopyGivesTheBitsOfTwo) {
  if (!ops::runs_on_tiles(at::kBFloat16)) GTEST_SKIP() << "nothing is packed on this processor";
  for (const auto& [out, in] : kShapes) {
    const auto weight = weight_of(out, in).to(at::kBFloat16);
    const auto g = at::randn({40, out}).to(at::kBFloat16);
    const auto one = dense_linear(weight), two = dense_linear(weight);
    one->choose_second_packing(false), two->choose_second_packing(true);
    EXPECT_TRUE(at::equal(one->project_back(g), two->project_back(g))) << out << " x " << in;
    two->choose_second_packing(false);  // lets the copy go
    EXPECT_TRUE(at::equal(one->project_back(g), two->project_back(g))) << out << " x " << in;
    EXPECT_EQ(one->second_packing_bytes(at::kBFloat16), 2 * ops::packed_size(out, in, ops::Side::kBackward));
    EXPECT_EQ(one->second_packing_bytes(at::kFloat), 0) << "fp32 is not packed";
  }
}

// With an adapter's factors of either order in memory, and x that is part of a wider matrix.
TEST_P(Bases, ForwardProductsAddTheirTerms) {
  for (const auto& [out, in] : kShapes)
    for (const auto dtype : {at::kFloat, at::kBFloat16})
      for (const int64_t rows : kRows) {
        const auto linear = base().make(weight_of(out, in));
        at::manual_seed(6);
        const auto x = at::randn({rows, in + 5}).to(dtype).narrow(1, 2, in), down = at::randn({rows, 6}).to(dtype);
        const auto bias = at::randn({out}), up = rows % 2 == 0 ? at::randn({out, 6}) : at::randn({6, out}).t();
        const auto exact = at::mm(x.to(at::kDouble), linear->weight().to(at::kDouble).t()) + bias.to(at::kDouble) +
                           at::mm(down.to(at::kDouble), up.to(at::kDouble).t()) * 0.5;
        const auto y = linear->project(x, {.bias = bias, .down = down, .up = up, .scale = 0.5});
        EXPECT_LE(relative_error(y, exact, typical_product(in)), product_tolerance(dtype)) << out << " x " << in << ", " << rows << " rows";
      }
}

TEST_P(Bases, RowsAndGatherAreRowsOfTheWeight) {
  for (const auto& [out, in] : kShapes)
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      const auto linear = base().make(weight_of(out, in));
      const auto whole = linear->weight().to(dtype);
      for (const auto& [begin, count] : std::vector<std::pair<int64_t, int64_t>>{{0, out}, {out / 2, 1}, {out / 3, out - out / 3}, {0, 0}})
        EXPECT_TRUE(at::equal(linear->rows(begin, count, dtype), whole.narrow(0, begin, count))) << begin << " + " << count;
      const auto ids = at::tensor({out - 1, int64_t{0}, out / 2, out - 1}, at::kLong);
      EXPECT_TRUE(at::equal(linear->gather(ids, dtype), whole.index_select(0, ids)));
    }
}

TEST_P(Bases, WeightAndGatherAreCopiesOfTheirOwn) {
  const auto first = base().make(weight_of(33, 64)), second = base().make(weight_of(34, 64));
  const auto weight = first->weight(), before = weight.clone();
  const auto rows = first->gather(at::arange(33), at::kFloat);
  weight.mul_(2);
  rows.mul_(3);
  second->project(at::ones({1, 64}));
  EXPECT_TRUE(at::equal(first->weight(), before));
}

TEST_P(Bases, ProductsAreTheSameRunToRunWhateverWasExpandedBetween) {
  const auto first = base().make(weight_of(131, 64)), second = base().make(weight_of(131, 96));
  const auto x = at::randn({3, 64}), other = at::randn({3, 96});
  const auto once = first->project(x);
  second->project(other);
  EXPECT_TRUE(at::equal(first->project(x), once));
  first->rows(5, 3, at::kFloat);
  EXPECT_TRUE(at::equal(first->project(x), once));
  first->rows(0, 3, at::kBFloat16);
  EXPECT_TRUE(at::equal(first->project(x), once));
}

TEST_P(Bases, AFreedWeightIsNotMistakenForTheNextOneAtItsAddress) {
  // Allocation usually gives the address again; then an expansion that was not forgotten would show.
  const auto x = at::ones({1, 64});
  int64_t reused = 0;
  const void* before = nullptr;
  for (int i = 1; i <= 20; ++i) {
    const auto linear = base().make(at::full({8, 64}, static_cast<double>(i)));
    reused += linear.get() == before;
    before = linear.get();
    EXPECT_NEAR(linear->project(x)[0][0].item<float>(), 64.0 * i, 64.0 * i * 0.01);  // NF4 and Q8_0 hold a constant to a scale's rounding
  }
  if (reused == 0) GTEST_SKIP() << "the allocator never gave an address twice, so that nothing was shown";
}

TEST_P(Bases, FrozenLinearGivesInputAndBiasExactGradients) {
  const auto linear = base().make(weight_of(33, 96));
  const auto stored = linear->weight().to(at::kDouble);
  at::manual_seed(3);
  const Tensors inputs{at::randn({5, 96}).requires_grad_(), at::randn({33}).requires_grad_()};
  const auto errors = testing::compare_with_float64(
      [&](const Tensors& in) { return frozen_linear(in[0], linear, in[1]); },
      [&](const Tensors& in) { return at::mm(in[0], stored.t()) + in[1]; }, inputs);
  EXPECT_LT(errors.worst(), 64 * kUnit32);  // as for the products
}

TEST_P(Bases, FrozenLinearTakesNoBiasAndFrozenInputs) {
  const std::shared_ptr<const FrozenLinear> linear = base().make(weight_of(33, 96));
  const auto x = at::randn({5, 96});
  EXPECT_TRUE(at::equal(frozen_linear(x, linear, {}), linear->project(x)));
  EXPECT_FALSE(frozen_linear(x, linear, {}).requires_grad());
  const auto bias = at::zeros({33}).requires_grad_();
  torch::autograd::backward({frozen_linear(x, linear, bias).sum()});  // the first layer's input needs no gradient
  EXPECT_TRUE(at::equal(bias.grad(), at::full({33}, 5.0)));
}

TEST_P(Bases, TheGraphKeepsItsBase) {
  auto linear = base().make(weight_of(33, 96));
  const auto stored = linear->weight();
  const auto x = at::randn({5, 96}).requires_grad_();
  const auto y = frozen_linear(x, linear, {});
  linear.reset();
  torch::autograd::backward({y.sum()});
  EXPECT_LT(relative_error(x.grad()[0], stored.to(at::kDouble).sum(0)), 64 * kUnit32);
}

TEST(FrozenLinear, SaysWhatItCosts) {
  const auto weight = weight_of(64, 128);
  EXPECT_EQ(dense_linear(weight)->bytes(), 64 * 128 * 4);
  EXPECT_EQ(dense_linear(weight.to(at::kBFloat16))->bytes(), 64 * 128 * 2);
  EXPECT_EQ(testing::q8_0_linear(weight)->bytes(), 64 * 128 / 32 * 34);
  // 4 bits a weight, a byte a block of 64, then per 256 blocks one float, and the map of 256 floats once.
  EXPECT_EQ(nf4_linear(weight)->bytes(), 64 * 128 / 2 + 64 * 128 / 64 + 4 * 1 + 4 * 256);
  EXPECT_TRUE(dense_linear(weight)->lossless());
  EXPECT_FALSE(nf4_linear(weight)->lossless());
  EXPECT_FALSE(testing::q8_0_linear(weight)->lossless());
}

TEST(FrozenLinear, DenseWeightInTheRightTypeIsNeverCopied) {
  const auto weight = weight_of(8, 16);
  EXPECT_EQ(dense_linear(weight)->rows(2, 3, at::kFloat).data_ptr(), weight.narrow(0, 2, 3).data_ptr());
}

TEST(ExpansionScratch, ExpandsARangeOnceAndAgainAfterAnother) {
  ExpansionScratch scratch;
  int filled = 0;
  const auto fill = [&](at::Tensor& to) { ++filled, to.fill_(filled); };
  const int first = 0, second = 0;
  scratch.expanded(&first, 0, 4, 8, at::kFloat, fill);
  scratch.expanded(&first, 0, 4, 8, at::kFloat, fill);
  EXPECT_EQ(filled, 1);
  scratch.expanded(&first, 0, 4, 8, at::kBFloat16, fill);  // a buffer a type
  EXPECT_EQ(filled, 2);
  scratch.expanded(&first, 2, 2, 8, at::kFloat, fill);     // other rows
  scratch.expanded(&second, 2, 2, 8, at::kFloat, fill);    // another weight
  EXPECT_EQ(filled, 4);
  scratch.expanded(&second, 2, 2, 8, at::kFloat, fill);
  EXPECT_EQ(filled, 4);
  scratch.forget();
  EXPECT_EQ(scratch.expanded(&second, 2, 2, 8, at::kFloat, fill)[1][7].item<float>(), 5.0f);
}

TEST(ExpansionScratch, GrowsToTheLargestMatrixAndNoFurther) {
  ExpansionScratch scratch;
  const int owner = 0;
  const auto fill = [](at::Tensor& to) { to.zero_(); };
  scratch.expanded(&owner, 0, 4, 8, at::kFloat, fill);
  scratch.expanded(&owner, 0, 10, 8, at::kFloat, fill);
  scratch.expanded(&owner, 0, 2, 8, at::kFloat, fill);
  EXPECT_EQ(scratch.bytes(), 10 * 8 * 4);
}

TEST(ExpansionScratch, AFailedExpansionIsNotTakenForWhatWasThere) {
  ExpansionScratch scratch;
  const int first = 0, second = 0;
  const auto good = [](at::Tensor& to) { to.fill_(1); };
  const auto bad = [](at::Tensor& to) {
    to.fill_(-1);
    throw InvalidArgument({.where = "blocks", .what = "are damaged"});
  };
  scratch.expanded(&first, 0, 2, 2, at::kFloat, good);
  EXPECT_THROW(scratch.expanded(&second, 0, 2, 2, at::kFloat, bad), InvalidArgument);
  EXPECT_EQ(scratch.expanded(&first, 0, 2, 2, at::kFloat, good)[0][0].item<float>(), 1.0f);
}

/// y = 2 x Wᵀ + bias.
class Doubling final : public Adapter {
 public:
  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    seed = call.slot_seed;
    auto y = call.base->project(x) * 2;
    return call.bias.defined() ? y + call.bias : y;
  }
  at::Tensor merged_weight(const FrozenLinear& base) const override { return base.weight() * 2; }
  NamedTensors parameters() const override { return {}; }
  mutable uint64_t seed = 0;
};

TEST(LinearSlot, CallsItsAdapterMergesAndDetaches) {
  const auto weight = weight_of(5, 8), bias = at::randn({5}), x = at::randn({3, 8});
  LinearSlot slot("model.layers.0.self_attn.q_proj", dense_linear(weight), bias);
  const auto plain = slot.forward(x, {});
  const auto adapter = std::make_shared<Doubling>();
  slot.attach(adapter);
  const auto adapted = slot.forward(x, {});
  EXPECT_LT(relative_error(adapted, (at::mm(x, weight.t()) * 2 + bias).to(at::kDouble)), 16 * kUnit32);
  EXPECT_THROW(slot.attach(adapter), InvalidArgument);
  slot.detach();
  EXPECT_TRUE(at::equal(slot.forward(x, {}), plain));
  slot.attach(adapter);
  slot.merge(at::kFloat);
  EXPECT_EQ(slot.adapter(), nullptr);
  EXPECT_LT(relative_error(slot.forward(x, {}), adapted.to(at::kDouble)), 16 * kUnit32);
  slot.merge(at::kFloat);  // nothing there: nothing happens
}

TEST(LinearSlot, SeedsDifferByNameAndStayTheSame) {
  std::set<uint64_t> seeds;
  for (int i = 0; i < 100; ++i) {
    LinearSlot slot("model.layers." + std::to_string(i) + ".mlp.up_proj", dense_linear(weight_of(2, 4)), {});
    const auto adapter = std::make_shared<Doubling>();
    slot.attach(adapter);
    slot.forward(at::ones({1, 4}), {});
    seeds.insert(adapter->seed & 0xffffffffu);  // all that at::Generator's engine takes
  }
  EXPECT_EQ(seeds.size(), 100u);
}

std::vector<std::string> names(const std::vector<LinearSlot*>& slots) {
  std::vector<std::string> all;
  for (const auto* slot : slots) all.push_back(slot->name());
  return all;
}

class Targets : public ::testing::Test {
 protected:
  std::unique_ptr<CausalLm> model_ = testing::tiny_model("llama");
  std::vector<std::string> matched(const std::vector<std::string>& patterns) {
    return names(matching_linears(model_->places(), patterns, "method.targets"));
  }
  std::string refusal(const std::vector<std::string>& patterns) {
    try {
      matched(patterns);
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "accepted";
  }
};

TEST_F(Targets, ByTheEndOfTheNameAfterADot) {
  EXPECT_THAT(matched({"q_proj"}), ElementsAre("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"));
  EXPECT_THAT(matched({"0.self_attn.q_proj"}), ElementsAre("model.layers.0.self_attn.q_proj"));
  EXPECT_THAT(matched({"model.layers.1.mlp.up_proj"}), ElementsAre("model.layers.1.mlp.up_proj"));
  EXPECT_THAT(matched({"lm_head"}), ElementsAre("lm_head"));
  EXPECT_THAT(refusal({"proj"}), HasSubstr("proj"));  // an end, but not after a dot
}

TEST_F(Targets, ByExpressionOverTheWholeName) {
  EXPECT_THAT(matched({".*layers\\.1\\.self_attn\\.(q|v)_proj"}),
              ElementsAre("model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"));
  EXPECT_THAT(refusal({"(q|v)_proj"}), HasSubstr("matches no linear layer"));  // part of a name only
}

TEST_F(Targets, AllLinearLeavesTheHeadOut) {
  EXPECT_EQ(matched({"all-linear"}).size(), 14u);
  EXPECT_EQ(matched({"all-linear", "lm_head"}).size(), 15u);
  EXPECT_EQ(matched({"all-linear", "q_proj"}).size(), 14u);
}

TEST_F(Targets, OrderIsTheModelsAndNothingTwice) {
  EXPECT_THAT(matched({"v_proj", "0.self_attn.q_proj", "q_proj"}),
              ElementsAre("model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.q_proj",
                          "model.layers.1.self_attn.v_proj"));
}

TEST_F(Targets, NothingMatchedIsAnErrorWithTheNearestName) {
  EXPECT_THAT(refusal({"q_porj"}), AllOf(HasSubstr("q_porj"), HasSubstr("q_proj"), HasSubstr("method.targets")));
  EXPECT_THAT(refusal({"q_proj", "query"}), HasSubstr("'query'"));  // one that matches does not excuse the other
  EXPECT_THAT(refusal({}), HasSubstr("all-linear"));
  EXPECT_THAT(refusal({"(q_proj"}), HasSubstr("regular expression"));
}

TEST(RankPatternRule, IsPefts) {
  const std::string name = "model.layers.1.self_attn.q_proj";
  EXPECT_TRUE(pattern_matches_end("q_proj", name));
  EXPECT_TRUE(pattern_matches_end("layers.1.self_attn.q_proj", name));
  EXPECT_TRUE(pattern_matches_end("model.layers.1.self_attn.q_proj", name));
  EXPECT_TRUE(pattern_matches_end("[01]\\.self_attn\\.(q|k)_proj", name));
  EXPECT_FALSE(pattern_matches_end("proj", name));               // not after a dot
  EXPECT_FALSE(pattern_matches_end("q_pro", name));              // not up to the end
  EXPECT_FALSE(pattern_matches_end("layers.0.self_attn.q_proj", name));
  EXPECT_FALSE(pattern_matches_end("1.self_attn", name));
  EXPECT_THROW(pattern_matches_end("(q_proj", name), InvalidArgument);
}

}  // namespace
}  // namespace graft::peft
