#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <omp.h>

#include "kernels/ops/attention_op.h"
#include "kernels/ops/gelu_op.h"
#include "kernels/ops/head_loss_op.h"
#include "kernels/ops/products.h"
#include "kernels/ops/kept_input.h"
#include "kernels/ops/layer_norm_op.h"
#include "kernels/ops/rms_norm_op.h"
#include "kernels/ops/rotary_op.h"
#include "kernels/ops/swiglu_op.h"
#include "kernels/rows/rows_reference.h"
#include "tests/support/gradcheck.h"

namespace graft::ops {
namespace {

using testing::central_difference_error;
using testing::compare_with_float64;
using testing::relative_error;
using testing::TensorFunction;
using testing::Tensors;

// Errors are measured as the largest difference over the largest expected value. u = 2^-24 (fp32), 2^-8 (bf16). A dot product of n
// terms errs by about √n·u of its terms' size, 4 times that at worst among some thousand results.
constexpr double kUnit32 = 0x1p-24, kUnit16 = 0x1p-8;

at::Tensor normal(at::IntArrayRef sizes, at::ScalarType dtype, uint64_t seed, double scale = 1.0) {
  return at::randn(sizes, at::make_generator<at::CPUGeneratorImpl>(seed), at::TensorOptions().dtype(at::kFloat)).mul_(scale).to(dtype);
}
at::Tensor leaf(at::IntArrayRef sizes, at::ScalarType dtype, uint64_t seed, double scale = 1.0) {
  return normal(sizes, dtype, seed, scale).requires_grad_();
}

class Operators : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  at::ScalarType dtype() const { return GetParam(); }
  bool fp32() const { return dtype() == at::kFloat; }
  /// `roundings` roundings to the operator's type, plus fp32 work of `n` summed terms.
  double tolerance(double roundings, int64_t n) const {
    return (fp32() ? roundings * kUnit32 : roundings * kUnit16) + (4 * std::sqrt(static_cast<double>(n)) + 16) * kUnit32;
  }
};
INSTANTIATE_TEST_SUITE_P(Types, Operators, ::testing::Values(at::kFloat, at::kBFloat16), [](const auto& instance) {
  return instance.param == at::kFloat ? "fp32" : "bf16";
});

TensorFunction rms_norm_float64(double epsilon) {
  return [epsilon](const Tensors& in) {
    return in[0] * at::rsqrt(in[0].square().mean(-1, true) + epsilon) * in[1];
  };
}

/// dx = g w / rms − x̂ mean(g w x̂) / rms: the first of the two. With n = 1 they cancel but for epsilon's share.
double rms_norm_gradient_terms(const Tensors& in, double epsilon) {
  if (in[0].numel() == 0) return 0;
  const auto x = in[0].detach().to(at::kDouble);
  return (testing::upstream_of(in[0]) * in[1].detach() * at::rsqrt(x.square().mean(-1, true) + epsilon)).abs().max().item<double>();
}

TEST_P(Operators, RmsNormEqualsFloat64) {
  for (const int64_t n : {1, 2, 7, 64, 127, 577})
    for (const int64_t rows : {0, 1, 5, 67}) {
      const Tensors inputs{leaf({rows, n}, dtype(), 1), leaf({n}, at::kFloat, 2)};
      const auto errors = compare_with_float64([](const Tensors& in) { return rms_norm(in[0], in[1], 1e-2); }, rms_norm_float64(1e-2), inputs,
                                               {rms_norm_gradient_terms(inputs, 1e-2)});
      // One rounding of the result, or of each of dx's two terms, beside sums of n terms (mean squares, their product with g w)
      // and of `rows` terms (the weight's gradient).
      EXPECT_LT(errors.worst(), tolerance(2, 4 * (n + rows))) << rows << " x " << n;
    }
  EXPECT_LT(central_difference_error(rms_norm_float64(1e-2), {leaf({3, 7}, at::kFloat, 1), leaf({7}, at::kFloat, 2)}), 1e-8);
}

TEST_P(Operators, RmsNormTakesHeadsAndViews) {
  const auto wide = normal({5, 3, 16}, dtype(), 1), weight = normal({8}, at::kFloat, 2);
  const auto view = wide.narrow(2, 4, 8);  // not contiguous
  EXPECT_TRUE(at::equal(rms_norm(view, weight, 1e-5), rms_norm(view.contiguous(), weight, 1e-5)));
  EXPECT_EQ(rms_norm(view, weight, 1e-5).sizes(), view.sizes());
}

TEST_P(Operators, RmsNormGivesAFrozenWeightNoGradient) {
  const auto x = leaf({3, 8}, dtype(), 1), weight = normal({8}, at::kFloat, 2);
  torch::autograd::backward({rms_norm(x, weight, 1e-5).sum()});
  EXPECT_TRUE(x.grad().defined());
  EXPECT_FALSE(weight.grad().defined());
}

/// Three readers that weigh y differently, and one of the sum.
template <class Weigh>
TensorFunction read_by_four(Weigh add_and_norm) {
  return [add_and_norm](const Tensors& in) {
    const auto [sum, normed] = add_and_norm(in);
    return at::cat({normed[0], normed[1] * 2, normed[2] * 0.5, sum}, -1);
  };
}

TEST_P(Operators, AddRmsNormEqualsFloat64) {
  const auto exact = read_by_four([](const Tensors& in) {
    const auto sum = in[0] + in[1];
    return AddedAndNormed{sum, Tensors(3, rms_norm_float64(1e-2)({sum, in[2]}))};
  });
  const auto ours = read_by_four([](const Tensors& in) { return add_rms_norm(in[0], in[1], in[2], 1e-2, 3); });
  for (const int64_t n : {2, 7, 64, 577}) {
    const Tensors inputs{leaf({5, n}, dtype(), 1), leaf({5, n}, dtype(), 3), leaf({n}, at::kFloat, 2)};
    // Beside one rounding of the result: each reader's gradient is one number of the type; the sum of their sizes is up to 4 times theirs.
    const auto errors = compare_with_float64(ours, exact, inputs, {});
    EXPECT_LT(errors.worst(), tolerance(8, 4 * n)) << n;
  }
}

TEST_P(Operators, AddRmsNormWithoutAResidualIsTheNormAndPassesTheStreamOn) {
  const auto x = leaf({5, 24}, dtype(), 1), weight = normal({24}, at::kFloat, 2);
  const auto [sum, normed] = add_rms_norm(x, {}, weight, 1e-5, 2);
  EXPECT_TRUE(at::equal(sum, x) && at::equal(normed[0], rms_norm(x, weight, 1e-5)) && at::equal(normed[1], normed[0]));
  EXPECT_EQ(normed[0].data_ptr(), normed[1].data_ptr());
  torch::autograd::backward({sum.sum()});  // nobody read the norm
  EXPECT_TRUE(at::equal(x.grad(), at::ones_like(x)));
}

TEST_P(Operators, OfAddAndNormOnlyTheNormIsMadeAgain) {
  struct Keeper : public torch::autograd::Function<Keeper> {
    static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x) {
      keep_input(ctx, x);
      return x.clone();
    }
    static Tensors backward(torch::autograd::AutogradContext* ctx, Tensors) { return {kept_input(ctx)}; }
  };
  const auto x = leaf({5, 24}, dtype(), 1), residual = normal({5, 24}, dtype(), 3), weight = normal({24}, at::kFloat, 2);
  for (const size_t reader : {0u, 1u, 2u}) {  // 0: the sum
    const auto [sum, normed] = add_rms_norm(x, residual, weight, 1e-5, 2);
    const auto input = reader == 0 ? sum : normed[reader - 1];
    at::Tensor seen;
    input.register_hook([&](const at::Tensor& gradient) { seen = gradient.clone(); });
    torch::autograd::backward({Keeper::apply(input).sum()});
    EXPECT_TRUE(at::equal(seen, input)) << reader;
  }
}

at::Tensor swiglu_float64(const Tensors& in) { return at::silu(in[0]) * in[1]; }

TEST_P(Operators, SwigluEqualsFloat64) {
  for (const int64_t n : {0, 1, 7, 16383, 16385}) {
    const Tensors inputs{leaf({n}, dtype(), 1, 3), leaf({n}, dtype(), 2)};
    const auto errors = compare_with_float64([](const Tensors& in) { return swiglu(in[0], in[1]); }, swiglu_float64, inputs);
    EXPECT_LT(errors.worst(), tolerance(1, 1)) << n;  // element-wise: one rounding, 16u of fp32 work
  }
  EXPECT_LT(central_difference_error(swiglu_float64, {leaf({2, 7}, at::kFloat, 1), leaf({2, 7}, at::kFloat, 2)}), 1e-8);
}

TEST_P(Operators, RotaryEqualsFloat64) {
  for (const int64_t tokens : {0, 1, 7, 129})
    for (const int64_t width : {2, 6, 64}) {
      const auto angle = normal({tokens, width / 2}, at::kFloat, 3, 10);
      const auto cosine = at::cos(angle), sine = at::sin(angle);
      const auto exact = [&](const Tensors& in) {
        const auto halves = in[0].chunk(2, -1);
        const auto c = cosine.to(at::kDouble).unsqueeze(1), s = sine.to(at::kDouble).unsqueeze(1);
        return at::cat({halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s}, -1);
      };
      const Tensors inputs{leaf({tokens, 3, width}, dtype(), 1)};
      const auto errors = compare_with_float64([&](const Tensors& in) { return rotary(in[0], cosine, sine); }, exact, inputs);
      EXPECT_LT(errors.worst(), tolerance(1, 2)) << tokens << " tokens of " << width;
      if (tokens == 7) {
        EXPECT_LT(central_difference_error(exact, inputs), 1e-8);
      }
    }
}

/// While it lives, at::empty gives NaN: whoever reads what he did not write shows it.
class NaNWhereNothingWasWritten {
 public:
  NaNWhereNothingWasWritten() { at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true); }
  ~NaNWhereNothingWasWritten() { at::globalContext().setDeterministicAlgorithms(false, /*warn_only=*/false); }
  NaNWhereNothingWasWritten(const NaNWhereNothingWasWritten&) = delete;
  NaNWhereNothingWasWritten& operator=(const NaNWhereNothingWasWritten&) = delete;
};

TEST(NaNWhereNothingWasWritten, Works) {
  const NaNWhereNothingWasWritten fill;
  EXPECT_TRUE(at::isnan(at::empty({3})).all().item<bool>());
}

/// Plain attention of sequences laid end to end, (N, H, D), keys repeated for their group.
at::Tensor attention_float64(const Tensors& in, const std::vector<int32_t>& lengths, const AttentionShape& shape) {
  const auto group = in[0].size(1) / in[1].size(1);
  const auto k = in[1].repeat_interleave(group, 1), v = in[2].repeat_interleave(group, 1);
  std::vector<at::Tensor> parts;
  int64_t start = 0;
  for (const int64_t length : lengths) {
    const auto part = [&](const at::Tensor& t) { return t.narrow(0, start, length).permute({1, 0, 2}); };
    const auto distance = at::arange(length).unsqueeze(1) - at::arange(length).unsqueeze(0);
    auto hidden = at::zeros({length, length}, at::kBool);
    if (shape.causal) hidden = distance.lt(0);
    if (shape.causal && shape.window > 0) hidden = at::logical_or(hidden, distance.ge(shape.window));
    const auto scores = (at::bmm(part(in[0]), part(k).transpose(1, 2)) * shape.scale).masked_fill(hidden, -INFINITY);
    parts.push_back(at::bmm(at::softmax(scores, -1), part(v)).permute({1, 0, 2}));
    start += length;
  }
  return parts.empty() ? in[0] * 0 + in[1].sum() * 0 + in[2].sum() * 0 : at::cat(parts);
}

struct AttentionCase {
  std::vector<int32_t> lengths;
  int64_t key_heads, group, width;
  AttentionShape shape;

  int64_t tokens() const {
    int64_t sum = 0;
    for (const auto length : lengths) sum += length;
    return sum;
  }
  Tensors inputs(at::ScalarType dtype) const {
    return {leaf({tokens(), key_heads * group, width}, dtype, 1), leaf({tokens(), key_heads, width}, dtype, 2),
            leaf({tokens(), key_heads, width}, dtype, 3)};
  }
  testing::OperatorErrors errors(at::ScalarType dtype) const {
    const auto in = inputs(dtype);
    return compare_with_float64([this](const Tensors& x) { return attention(x[0], x[1], x[2], lengths, shape); },
                                [this](const Tensors& x) { return attention_float64(x, lengths, shape); }, in, lone_key_terms(in));
  }
  /// Where every query sees one key only, dq = scale (dP − ΣdP P) k is a difference of equal terms: their size, and dk's.
  std::vector<double> lone_key_terms(const Tensors& in) const {
    if (tokens() != 1 && !(shape.causal && shape.window == 1)) return {};
    const auto repeated = [&](const at::Tensor& t) { return t.detach().to(at::kDouble).repeat_interleave(group, 1); };
    const auto dp = (testing::upstream_of(in[0]) * repeated(in[2])).sum(-1, /*keepdim=*/true) * shape.scale;
    return {(dp * repeated(in[1])).abs().max().item<double>(), (dp * in[0].detach()).abs().max().item<double>()};
  }
};

AttentionShape shape_of(int64_t width, int64_t window = 0, bool causal = true) {
  return {.causal = causal, .window = window, .scale = 1.0 / std::sqrt(static_cast<double>(width))};
}

// fp32: a score errs by √D·u of its terms and at most 4 in size, probabilities by that times a few, sums over keys average: 200u covers
// D <= 64 and 300 keys. bf16: a score of up to about 4.5 (after scaling) is rounded, so single probabilities err by up to 4.5u, get
// rounded themselves, and so do results, and in the backward pass two more products each: 12u of the largest value. The mean error
// is far below (see the test of the mean below).
double attention_tolerance(at::ScalarType dtype) { return dtype == at::kFloat ? 200 * kUnit32 : 12 * kUnit16; }

TEST_P(Operators, AttentionEqualsFloat64AtBlockEdges) {
  for (const int32_t length : {1, 2, 127, 128, 129, 257, 300}) {
    const AttentionCase c{{length}, 2, 1, 16, shape_of(16)};
    EXPECT_LT(c.errors(dtype()).worst(), attention_tolerance(dtype())) << length;
  }
}

TEST_P(Operators, AttentionEqualsFloat64ForGroupsWindowsAndPackedSequences) {
  for (const int64_t group : {1, 3, 4})
    for (const int64_t window : {0, 1, 5, 128, 1000})
      for (const bool causal : {true, false}) {
        if (!causal && window > 0) continue;
        const AttentionCase c{{1, 130, 7, 0, 129}, 2, group, 8, shape_of(8, window, causal)};
        EXPECT_LT(c.errors(dtype()).worst(), attention_tolerance(dtype())) << "group " << group << ", window " << window;
      }
}

TEST_P(Operators, AttentionsMeanErrorIsThatOfItsRoundings) {
  const AttentionCase c{{300, 129}, 2, 3, 64, shape_of(64)};
  const auto in = c.inputs(dtype());
  const auto difference = attention(in[0], in[1], in[2], c.lengths, c.shape).to(at::kDouble) -
                          attention_float64(testing::leaves_like(in, at::kDouble), c.lengths, c.shape);
  const auto expected = attention_float64(testing::leaves_like(in, at::kDouble), c.lengths, c.shape);
  // Root mean squares: a rounding errs by u/√3; score, probability and result are rounded, scores have size 1.
  const double unit = fp32() ? 4 * kUnit32 : kUnit16;
  EXPECT_LT(difference.norm().item<double>() / expected.norm().item<double>(), std::sqrt(3.0) * unit);
}

TEST(Attention, Float64CompositionHasTheRightGradient) {
  const AttentionCase c{{1, 9, 4}, 2, 3, 4, shape_of(4, 5)};
  const auto reference = [&](const Tensors& in) { return attention_float64(in, c.lengths, c.shape); };
  EXPECT_LT(central_difference_error(reference, c.inputs(at::kFloat)), 1e-8);
}

TEST(Attention, NothingCrossesABorder) {
  const std::vector<int32_t> lengths{5, 131, 3};
  const auto q = normal({139, 4, 8}, at::kFloat, 1), v = normal({139, 2, 8}, at::kFloat, 3);
  auto k = normal({139, 2, 8}, at::kFloat, 2);
  const auto before = attention(q, k, v, lengths, shape_of(8));
  k.narrow(0, 5, 131).mul_(-3);  // only the second sequence
  const auto after = attention(q, k, v, lengths, shape_of(8));
  EXPECT_TRUE(at::equal(before.narrow(0, 0, 5), after.narrow(0, 0, 5)));
  EXPECT_TRUE(at::equal(before.narrow(0, 136, 3), after.narrow(0, 136, 3)));
  EXPECT_FALSE(at::equal(before.narrow(0, 5, 131), after.narrow(0, 5, 131)));
}

TEST_P(Operators, AttentionReadsNothingThatItDidNotWrite) {
  const NaNWhereNothingWasWritten fill;
  for (const int64_t window : {0, 1, 5}) {
    const AttentionCase c{{1, 130, 0, 7}, 2, 3, 8, shape_of(8, window)};
    const auto in = c.inputs(dtype());
    torch::autograd::backward({attention(in[0], in[1], in[2], c.lengths, c.shape).sum()});
    for (const auto& x : in) EXPECT_TRUE(at::isfinite(x.grad()).all().item<bool>()) << window;
    const auto cached = attention_with_cache(in[0].narrow(0, 100, 38), in[1], in[2], c.shape);
    EXPECT_TRUE(at::isfinite(cached).all().item<bool>()) << window;
  }
}

TEST(Attention, OfNoTokensIsEmpty) {
  const AttentionCase c{{}, 2, 2, 8, shape_of(8)};
  EXPECT_EQ(c.errors(at::kFloat).worst(), 0);
}

TEST_P(Operators, CachedAttentionEqualsTheWholeSequence) {
  for (const int64_t window : {0, 5, 140})
    for (const int64_t group : {1, 3}) {
      const int32_t length = 300;
      const auto q = normal({length, 2 * group, 16}, dtype(), 1), k = normal({length, 2, 16}, dtype(), 2), v = normal({length, 2, 16}, dtype(), 3);
      const auto whole = attention(q, k, v, std::vector<int32_t>{length}, shape_of(16, window));
      for (const auto& [begin, count] : std::vector<std::pair<int64_t, int64_t>>{{0, 300}, {0, 1}, {299, 1}, {128, 5}, {100, 129}}) {
        const auto part = attention_with_cache(q.narrow(0, begin, count), k.narrow(0, 0, begin + count), v.narrow(0, 0, begin + count),
                                               shape_of(16, window));
        // Both have attention's own error, against each other twice that.
        EXPECT_LT(relative_error(part, whole.narrow(0, begin, count).to(at::kDouble)), 2 * attention_tolerance(dtype()))
            << begin << " + " << count;
      }
    }
}

struct Head {
  at::Tensor weight;  // (V, C)
  HeadRows rows() const {
    return [this](int64_t begin, int64_t count) { return weight.narrow(0, begin, count); };
  }
};

at::Tensor exact_nll(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets) {
  const auto logits = at::mm(hidden, weight.to(at::kDouble).t());
  return -at::log_softmax(logits, 1).gather(1, targets.unsqueeze(1)).squeeze(1);
}

at::Tensor spread_targets(int64_t rows, int64_t vocabulary) { return at::arange(rows, at::kLong).mul(7919).add(vocabulary - 1).remainder(vocabulary); }

TEST_P(Operators, HeadLossAndGradientEqualFloat64AroundTheVocabularyBlock) {
  for (const int64_t vocabulary : {1, 2, 131, 4095, 4096, 4097, 8193, 10007})
    for (const int64_t rows : {0, 1, 13}) {
      const Head head{normal({vocabulary, 24}, dtype(), 2, 0.3)};
      const auto targets = spread_targets(rows, vocabulary);
      const auto errors = compare_with_float64(
          [&](const Tensors& in) { return head_loss(in[0], targets, vocabulary, head.rows()); },
          [&](const Tensors& in) { return exact_nll(in[0], head.weight, targets).sum(); }, {leaf({rows, 24}, dtype(), 1)});
      // Logits reach 6; in bf16 each is rounded (6u at most, no bias) and the loss is a sum of a dozen. The gradient rounds
      // probabilities and itself. With one word the loss and its gradient are 0, exactly in fp32 up to the product's error.
      const double loss_tolerance = fp32() ? 64 * kUnit32 : 6 * kUnit16, gradient_tolerance = fp32() ? 128 * kUnit32 : 8 * kUnit16;
      if (vocabulary == 1) continue;
      EXPECT_LT(errors.output, loss_tolerance) << vocabulary;
      EXPECT_LT(errors.gradients[0], gradient_tolerance) << vocabulary;
    }
}

TEST_P(Operators, HeadLossOfOneWordIsZero) {
  const Head head{normal({1, 24}, dtype(), 2)};
  const auto hidden = leaf({5, 24}, dtype(), 1);
  const auto loss = head_loss(hidden, at::zeros({5}, at::kLong), 1, head.rows());
  torch::autograd::backward({loss});
  // log Σ exp and the target's logit take different ways on matrix units: their difference is the rounding of fp32 exponential and
  // logarithm (3e-7 of values near 1) for each of the five rows; LibTorch's composition cancels exactly.
  const double rounding = runs_on_tiles(dtype()) ? 3e-7 : 0.0;
  EXPECT_LE(std::abs(loss.item<double>()), 5 * rounding);
  EXPECT_LE(hidden.grad().abs().max().item<double>(), 2 * rounding);
}

TEST_P(Operators, HeadLossWithAllTargetsAlikeEqualsFloat64) {
  for (const int64_t target : {int64_t{0}, int64_t{4095}, int64_t{4096}, int64_t{4999}}) {
    const Head head{normal({5000, 16}, dtype(), 2, 0.3)};
    const auto targets = at::full({9}, target, at::kLong);
    const auto errors = compare_with_float64([&](const Tensors& in) { return head_loss(in[0], targets, 5000, head.rows()); },
                                             [&](const Tensors& in) { return exact_nll(in[0], head.weight, targets).sum(); },
                                             {leaf({9, 16}, dtype(), 1)});
    EXPECT_LT(errors.output, fp32() ? 64 * kUnit32 : 6 * kUnit16) << target;
    EXPECT_LT(errors.gradients[0], fp32() ? 128 * kUnit32 : 8 * kUnit16) << target;
  }
}

TEST(HeadLoss, UpstreamGradientScalesIt) {
  const Head head{normal({4100, 16}, at::kFloat, 2, 0.3)};
  const auto targets = spread_targets(6, 4100);
  const auto once = leaf({6, 16}, at::kFloat, 1), scaled = leaf({6, 16}, at::kFloat, 1);
  torch::autograd::backward({head_loss(once, targets, 4100, head.rows())});
  torch::autograd::backward({head_loss(scaled, targets, 4100, head.rows()) * 0.25});
  EXPECT_TRUE(at::equal(once.grad() * 0.25, scaled.grad()));  // a power of two: exact
}

TEST_P(Operators, HeadLossOfHugeLogitsDoesNotOverflow) {
  // Logits of ±20,000, the largest in the last block, so that earlier sums are scaled down to nothing.
  const int64_t vocabulary = 9000;
  auto weight = at::zeros({vocabulary, 8}, at::kFloat);
  weight.select(1, 0).copy_(at::linspace(-200, 200, vocabulary));
  const Head head{weight.to(dtype())};
  const auto hidden = at::full({3, 8}, 100.0, at::TensorOptions().dtype(dtype())).requires_grad_();
  const auto targets = at::tensor({int64_t{0}, vocabulary - 1, int64_t{4500}});
  const auto loss = head_loss(hidden, targets, vocabulary, head.rows());
  torch::autograd::backward({loss});
  const auto expected = exact_nll(hidden.detach().to(at::kDouble), head.weight, targets);
  EXPECT_LT(relative_error(loss, expected.sum()), fp32() ? 8 * kUnit32 : 2 * kUnit16);
  EXPECT_TRUE(at::isfinite(hidden.grad()).all().item<bool>());
  const auto nll = head_nll(hidden.detach(), targets, vocabulary, head.rows());
  EXPECT_LT(relative_error(nll, expected), fp32() ? 8 * kUnit32 : 2 * kUnit16);
}

TEST_P(Operators, HeadNllEqualsFloat64AndFindsTheBestWord) {
  for (const int64_t vocabulary : {1, 131, 4096, 4097, 8193}) {
    const Head head{normal({vocabulary, 24}, dtype(), 2, 0.3)};
    const auto hidden = normal({13, 24}, dtype(), 1), targets = spread_targets(13, vocabulary);
    at::Tensor best;
    const auto nll = head_nll(hidden, targets, vocabulary, head.rows(), &best);
    const auto expected = exact_nll(hidden.to(at::kDouble), head.weight, targets);
    if (vocabulary > 1) {
      EXPECT_LT(relative_error(nll, expected), fp32() ? 64 * kUnit32 : 6 * kUnit16) << vocabulary;
    }
    // The best word by the very logits that the operator sees: bf16 rounding may make two equal, then the first of them.
    const auto logits = at::mm(hidden, head.weight.t());
    const auto chosen = logits.gather(1, best.unsqueeze(1)).squeeze(1);
    EXPECT_TRUE(at::equal(chosen, logits.amax({1}))) << vocabulary;
  }
}

TEST(HeadNll, SumIsTheLoss) {
  const Head head{normal({8193, 24}, at::kFloat, 2, 0.3)};
  const auto hidden = normal({13, 24}, at::kFloat, 1), targets = spread_targets(13, 8193);
  EXPECT_EQ(head_loss(hidden, targets, 8193, head.rows()).item<float>(), head_nll(hidden, targets, 8193, head.rows()).sum().item<float>());
}

/// The row kernels' plain reference, held against ATen in float64; rows_test holds the kernels against the reference.
TEST(RowsReference, EqualsFloat64) {
  using namespace kernels;
  const int64_t rows = 5, n = 37;
  const auto x = normal({rows, n}, at::kFloat, 1), g = normal({rows, n}, at::kFloat, 2), w = normal({n}, at::kFloat, 3);
  auto exact = testing::leaves_like({x.clone().requires_grad_(), w.clone().requires_grad_()}, at::kDouble);
  const auto expected = rms_norm_float64(1e-2)(exact);
  torch::autograd::backward({expected}, {g.to(at::kDouble)});
  auto y = at::empty_like(x), inverse = at::empty({rows}), dx = at::empty_like(x), dw = at::zeros({n});
  rms_norm_rows_reference(Element::kFloat32, x.const_data_ptr(), w.const_data_ptr<float>(), 1e-2f, rows, n, y.mutable_data_ptr(),
                          inverse.mutable_data_ptr<float>());
  const std::array<const void*, 1> gradient{g.const_data_ptr()};
  rms_norm_rows_backward_reference(Element::kFloat32, {.rows = rows, .n = n, .g = gradient, .x = x.const_data_ptr(),
                                                       .weight = w.const_data_ptr<float>(), .inverse_rms = inverse.const_data_ptr<float>(),
                                                       .dx = dx.mutable_data_ptr(), .dweight = dw.mutable_data_ptr<float>()});
  // One rounding of the result, one of the kept inverse, and epsilon as a float.
  for (const auto& [own, right] : {std::pair{y, expected}, {dx, exact[0].grad()}, {dw, exact[1].grad()}})
    EXPECT_LT(relative_error(own, right), 4 * kUnit32);

  exact = testing::leaves_like({x.clone().requires_grad_(), g.clone().requires_grad_()}, at::kDouble);
  const auto product = swiglu_float64(exact);
  torch::autograd::backward({product}, {x.to(at::kDouble)});
  auto own_product = at::empty_like(x), dgate = at::empty_like(x), dup = at::empty_like(x);
  swiglu_elements_reference(Element::kFloat32, x.const_data_ptr(), g.const_data_ptr(), rows * n, own_product.mutable_data_ptr());
  swiglu_elements_backward_reference(Element::kFloat32, x.const_data_ptr(), x.const_data_ptr(), g.const_data_ptr(), rows * n,
                                     dgate.mutable_data_ptr(), dup.mutable_data_ptr());
  for (const auto& [own, right] : {std::pair{own_product, product}, {dgate, exact[0].grad()}, {dup, exact[1].grad()}})
    EXPECT_LT(relative_error(own, right), 2 * kUnit32);
}

TEST(RowsReference, SoftmaxEqualsFloat64) {
  using namespace kernels;
  const AttentionBlock block{.groups = 2, .queries = 5, .keys = 9, .first_position = 4, .causal = true, .window = 6, .scale = 0.7f};
  const auto scores = normal({2, 5, 9}, at::kFloat, 1, 2), g = normal({2, 5, 9}, at::kFloat, 2);
  const auto distance = (at::arange(5) + 4).unsqueeze(1) - at::arange(9).unsqueeze(0);
  const auto hidden = at::logical_or(distance.lt(0), distance.ge(6));
  const auto exact = scores.to(at::kDouble).requires_grad_();
  const auto masked = (exact * static_cast<double>(0.7f)).masked_fill(hidden, -INFINITY);
  const auto p = at::softmax(masked, -1);
  torch::autograd::backward({p}, {g.to(at::kDouble)});
  const auto delta = (p.detach() * g.to(at::kDouble)).sum(-1).to(at::kFloat);  // Σ g ⊙ p, what attention calls Σ dO ⊙ O

  auto own = scores.clone(), again = scores.clone(), gradient = g.clone(), lse = at::empty({2, 5});
  softmax_rows_reference(Element::kFloat32, block, own.mutable_data_ptr(), lse.mutable_data_ptr<float>());
  EXPECT_LT(relative_error(own, p), 2 * kUnit32);
  EXPECT_LT(relative_error(lse, at::logsumexp(masked, -1)), 2 * kUnit32);
  softmax_rows_backward_reference(Element::kFloat32, block, lse.const_data_ptr<float>(), delta.const_data_ptr<float>(),
                                  again.mutable_data_ptr(), gradient.mutable_data_ptr());
  // The log sum, of size 4, was rounded: 4u in every probability.
  EXPECT_LT(relative_error(again, p), 8 * kUnit32);
  EXPECT_LT(relative_error(gradient, exact.grad()), 16 * kUnit32);
}

/// Every operator forward and backward at a size that threads share.
Tensors everything(at::ScalarType dtype) {
  const auto x = leaf({260, 96}, dtype, 1), weight = leaf({96}, at::kFloat, 2);
  const auto q = leaf({260, 6, 16}, dtype, 3), k = leaf({260, 2, 16}, dtype, 4), v = leaf({260, 2, 16}, dtype, 5);
  const auto angle = normal({260, 8}, at::kFloat, 6, 10);
  const Head head{normal({5000, 96}, dtype, 7, 0.3)};
  const auto normed = rms_norm(x, weight, 1e-5);
  const auto attended = attention(rotary(q, at::cos(angle), at::sin(angle)), k, v, std::vector<int32_t>{130, 130}, shape_of(16));
  const auto gated = swiglu(normed, attended.reshape({260, 96}));
  const auto loss = head_loss(gated, spread_targets(260, 5000), 5000, head.rows());
  torch::autograd::backward({loss});
  return {loss.detach(), attended.detach(), gated.detach(), x.grad(), weight.grad(), q.grad(), k.grad(), v.grad()};
}

void set_threads(int count) {
  at::set_num_threads(count);
  omp_set_num_threads(count);
}

TEST_P(Operators, WithoutGradientsTheValuesAreTheSame) {
  const auto x = leaf({37, 48}, dtype(), 1), gain = leaf({48}, at::kFloat, 2), residual = leaf({37, 48}, dtype(), 3);
  const auto heads = leaf({37, 4, 16}, dtype(), 4), angles = normal({37, 8}, at::kFloat, 5);
  const std::vector<std::pair<const char*, std::function<Tensors()>>> operators = {
      {"rms_norm", [&] { return Tensors{rms_norm(x, gain, 1e-5)}; }},
      {"add_rms_norm", [&] { auto [sum, normed] = add_rms_norm(x, residual, gain, 1e-5, 2); return Tensors{sum, normed[0], normed[1]}; }},
      {"layer_norm", [&] { return Tensors{layer_norm(x, gain, gain, 1e-5)}; }},
      {"swiglu", [&] { return Tensors{swiglu(x, residual)}; }},
      {"gelu", [&] { return Tensors{gelu(x, kernels::Gelu::kExact)}; }},
      {"rotary", [&] { return Tensors{rotary(heads, angles.cos(), angles.sin())}; }},
      {"attention", [&] { return Tensors{attention(heads, heads, heads, std::vector<int32_t>{30, 7}, shape_of(16))}; }},
  };
  for (const auto& [name, run] : operators) {
    const auto recorded = run();
    const at::NoGradGuard no_gradient;
    const auto plain = run();
    for (size_t i = 0; i < recorded.size(); ++i) {
      EXPECT_TRUE(recorded[i].requires_grad()) << name;
      EXPECT_FALSE(plain[i].requires_grad() && plain[i].grad_fn()) << name;
      EXPECT_TRUE(at::equal(recorded[i].detach(), plain[i])) << name << " " << i;
    }
  }
}

/// Same bytes run to run. Between thread counts LibTorch's fp32 product may split its sums elsewhere (it does on AVX-512), so there only
/// the rounding of its sums is allowed: at most some thousand terms of 2^-24 each, of random sign.
TEST_P(Operators, ResultsAreTheSameRunToRunAndNearlySoForOneAndTwoThreads) {
  const int before = at::get_num_threads();
  set_threads(1);
  const auto one = everything(dtype()), one_again = everything(dtype());
  set_threads(2);
  const auto two = everything(dtype()), again = everything(dtype());
  set_threads(before);
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_TRUE(at::equal(one[i], one_again[i])) << "run to run with one thread, result " << i;
    EXPECT_TRUE(at::equal(two[i], again[i])) << "run to run with two threads, result " << i;
    EXPECT_LT(relative_error(two[i], one[i].to(at::kDouble)), dtype() == at::kFloat ? 2e-6 : 1e-2) << "threads, result " << i;
  }
}

}  // namespace
}  // namespace graft::ops
