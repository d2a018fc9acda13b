#include "peft_core/operations/update_rounding.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "kernels/gguf_blocks/gguf_blocks.h"
#include "peft_core/operations/quantised_merge.h"
#include "tests/peft_core/methods/method_fixture.h"

namespace graft::testing {
namespace {

using namespace peft;

at::Tensor noise(at::IntArrayRef sizes, uint64_t seed) {
  auto random = at::make_generator<at::CPUGeneratorImpl>(seed);
  return at::randn(sizes, random, at::kFloat);
}

at::Tensor as_q8_0(const at::Tensor& values) {
  std::vector<std::byte> blocks(static_cast<size_t>(values.numel() / 32 * 34));
  const auto contiguous = values.contiguous();
  auto back = at::empty_like(contiguous);
  const auto count = static_cast<size_t>(values.numel());
  kernels::quantize_q8_0({contiguous.const_data_ptr<float>(), count}, blocks);
  kernels::dequantize_blocks(kernels::GgmlType::kQ8_0, blocks, std::span<float>(back.mutable_data_ptr<float>(), count));
  return back;
}

at::Tensor nearest(const at::Tensor& values, StoredType type) {
  if (type == StoredType::kQ8_0) return as_q8_0(values);
  return values.to(type == StoredType::kBf16 ? at::kBFloat16 : at::kHalf).to(at::kFloat);
}

/// A weight on the type's grid and an update of rank 4 of a sixth of a step, so that plain rounding loses nearly all of it.
struct Case {
  explicit Case(StoredType stored, int64_t out = 48, int64_t in = 256) : type(stored), a(noise({4, in}, 2)) {
    base = nearest(noise({out, in}, 1) * 0.05, type);
    // Steps: a block of 32 reaches some 2.1 · 0.05, over 127; bf16 has 2^-8 of 0.03, f16 2^-11.
    const double step = type == StoredType::kQ8_0 ? 0.105 / 127 : 0.03 / (type == StoredType::kBf16 ? 256 : 2048);
    const auto delta = at::mm(noise({out, 4}, 3), a);
    merged = base + delta * (step / 6 / 2);  // delta has a deviation of √4
  }
  double kept(const at::Tensor& stored) const {
    KeptUpdate kept;
    kept.add(merged, stored, base);
    return kept.fraction();
  }
  StoredType type;
  at::Tensor a, base, merged;
};

class UpdateRounding : public ::testing::TestWithParam<StoredType> {};

TEST_P(UpdateRounding, KeepsAnUpdateThatPlainRoundingLoses) {
  const Case c(GetParam());
  const auto rounded = rounded_for_update(c.merged, c.a, c.type);
  EXPECT_LT(c.kept(nearest(c.merged, c.type)), 0.5) << "the case is void";
  EXPECT_GT(c.kept(rounded), 0.93);
  EXPECT_LT(c.kept(rounded), 1.07);
}

TEST_P(UpdateRounding, GivesValuesThatTheTypeHolds) {
  const Case c(GetParam());
  const auto rounded = rounded_for_update(c.merged, c.a, c.type);
  // Q8_0's scale is 127 steps over 127 again, in fp32 and then in half precision: the same half, and so the same product.
  EXPECT_TRUE(nearest(rounded, c.type).equal(rounded));
}

TEST_P(UpdateRounding, StaysWithinOneStepOfTheTarget) {
  const Case c(GetParam());
  const auto rounded = rounded_for_update(c.merged, c.a, c.type), error = (rounded - c.merged).abs();
  const auto largest = c.type == StoredType::kQ8_0 ? c.merged.view({-1, 32}).abs().amax(1, true).expand({-1, 32}).reshape(c.merged.sizes()) / 127 * 1.001
                       : c.merged.abs() * (c.type == StoredType::kBf16 ? 1.0 / 128 : 1.0 / 1024) * 1.01 + 6e-8;
  EXPECT_TRUE(error.le(largest).all().item<bool>());
}

TEST_P(UpdateRounding, IsTheSameForAnyNumberOfThreads) {
  const Case c(GetParam());
  const auto threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = rounded_for_update(c.merged, c.a, c.type);
  at::set_num_threads(threads);
  EXPECT_TRUE(one.equal(rounded_for_update(c.merged, c.a, c.type)));
}

TEST_P(UpdateRounding, NeverMakesItsMeasureWorse) {
  for (const double weight : {0.1, 30.0, 1000.0}) {
    const Case c(GetParam());
    const auto basis = std::get<0>(at::linalg_qr(c.a.t().to(at::kDouble)));
    const auto measure = [&](const at::Tensor& q) {
      const auto error = (c.merged - q).to(at::kDouble);
      return (error.square().sum(1) + weight * at::mm(error, basis).square().sum(1));
    };
    const auto before = measure(nearest(c.merged, c.type)), after = measure(rounded_for_update(c.merged, c.a, c.type, weight));
    // Plain Q8_0 takes codes from the scale before it is rounded to half, so single values may start elsewhere: 1e-3.
    EXPECT_TRUE(after.le(before * 1.001 + 1e-15).all().item<bool>());
    EXPECT_LT(after.sum().item<double>(), before.sum().item<double>() * 0.999);
  }
}

TEST_P(UpdateRounding, TakesSmallAndEmptyWeights) {
  for (const auto& [out, in] : {std::pair<int64_t, int64_t>{0, 32}, {1, 32}, {3, 96}}) {
    const auto merged = noise({out, in}, 5);
    EXPECT_EQ(rounded_for_update(merged, noise({2, in}, 6), GetParam()).sizes(), merged.sizes());
    EXPECT_TRUE(rounded_for_update(at::zeros({out, in}), noise({40, in}, 6), GetParam()).equal(at::zeros({out, in}))) << "more directions than inputs";
  }
}

std::string name_of(const ::testing::TestParamInfo<StoredType>& info) {
  return info.param == StoredType::kBf16 ? "bf16" : info.param == StoredType::kF16 ? "f16" : "q8_0";
}

INSTANTIATE_TEST_SUITE_P(Types, UpdateRounding, ::testing::Values(StoredType::kBf16, StoredType::kF16, StoredType::kQ8_0), name_of);

double kept_in_nf4(Rounding rounding, double* loss = nullptr) {
  auto adapted = adapt("lora", "rank: 4", "llama", kNf4);
  adapted.disturb(4);
  const auto exact = adapted.logits(tiny_batch());
  const auto before = adapted.model->frozen_matrices().at(1).second->storage();
  KeptUpdate all;
  for (const auto& layer : merge_into_nf4(adapted.model->places(), rounding)) {
    all.product += layer.kept.product, all.squared_update += layer.kept.squared_update;
    EXPECT_GT(layer.squared_weight, 0);
    EXPECT_LT(layer.squared_error, 0.05 * layer.squared_weight) << "four bits leave some 1% of the squares, twice that where values move";
  }
  EXPECT_EQ(adapted.model->frozen_matrices().at(1).second->storage(), before);
  EXPECT_EQ(adapted.model->places().linears.front()->adapter(), nullptr);
  if (loss != nullptr) *loss = (adapted.logits(tiny_batch()) - exact).abs().mean().item<double>();
  return all.fraction();
}

TEST(QuantisedMerge, KeepsMoreOfTheUpdateInNf4) {
  const double plain = kept_in_nf4(Rounding::kNearest), kept = kept_in_nf4(Rounding::kUpdate);
  EXPECT_LT(std::abs(kept - 1), 0.5 * std::abs(plain - 1));
  EXPECT_NEAR(kept, 1, 0.1);
}

TEST(Nf4ForUpdate, ReadsCodesAcrossRows) {
  // 40 columns: blocks of 64 run over the ends of rows, and a byte holds two codes.
  const auto merged = noise({5, 41}, 8);
  const auto stored = nf4_for_update(merged, noise({3, 41}, 9));
  auto held = at::empty_like(merged);
  kernels::dequantize_nf4(stored, 0, std::span<float>(held.mutable_data_ptr<float>(), static_cast<size_t>(held.numel())));
  const auto flat = (held - merged).abs().view(-1), largest = merged.abs().view(-1);
  for (int64_t i = 0; i < flat.size(0); ++i) {
    const auto begin = i / 64 * 64, count = std::min<int64_t>(64, flat.size(0) - begin);
    // The widest gap of the table is 0.304, between its first two values; the scale itself is an 8-bit code, 5% off at most here.
    EXPECT_LE(flat[i].item<double>(), (0.305 + 0.05) * largest.narrow(0, begin, count).max().item<double>()) << i;
  }
}

}  // namespace
}  // namespace graft::testing
