#include "peft_core/checkpoint/hf_writer.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "peft_core/checkpoint/gguf_metadata_entries.h"
#include "peft_core/formats/safetensors.h"
#include "tests/peft_core/checkpoint/adapted_decoder.h"
#include "tests/support/gradcheck.h"
#include "tests/support/temp_dir.h"

namespace graft::peft {
namespace {

using testing::AdaptedDecoder;
using testing::logits_of;
using testing::relative_error;
using testing::TempDir;
using testing::tiny_config;
using testing::TinyWeights;

constexpr double kUnit32 = 0x1p-24;
// As for the decoder's own test: forward passes through merged and unmerged weights each err by 160 u, the merged weights by one more u.
constexpr double kModelError = 2 * 160 * kUnit32;

/// A base as if it came from GGUF, so that config.json has to be made.
ModelFiles base_of(const std::string& kind) {
  ModelFiles base;
  base.path = "tiny.gguf";
  base.config = tiny_config(kind);
  base.weights = std::make_shared<TinyWeights>(base.config, 1);
  base.is_gguf = true;
  return base;
}

std::unique_ptr<CausalLm> written_and_opened(const AdaptedDecoder& adapted, const std::string& kind, const std::filesystem::path& folder,
                                             const HfWeightOptions& options) {
  write_hf_weights(folder, merged_tensors(*adapted.model), options);
  write_json_file(folder / "config.json", hf_config(base_of(kind), options.dtype, head_stays_tied(*adapted.model), {}));
  const auto files = open_model(folder);
  return std::make_unique<CausalLm>(files.config, *files.weights, testing::kDense);
}

class MergedFolders : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Kinds, MergedFolders, ::testing::Values("qwen2", "qwen3", "llama", "mistral"),
                         [](const auto& instance) { return instance.param; });

TEST_P(MergedFolders, GiveTheLogitsOfBaseAndAdapter) {
  const TempDir folder;
  const AdaptedDecoder adapted(GetParam(), "lora", "{rank: 4, targets: [all-linear], use_rslora: true, rank_pattern: {q_proj: 2}}");
  const auto merged = written_and_opened(adapted, GetParam(), folder.path(), {});
  const auto expected = logits_of(*adapted.model);
  EXPECT_LT(relative_error(logits_of(*merged), expected), kModelError);
  adapted.attachment->detach();
  EXPECT_GT(relative_error(logits_of(*adapted.model), expected), 1e-2);  // the update is no small thing
}

TEST_P(MergedFolders, HoldTrainedNorms) {
  const TempDir folder;
  const AdaptedDecoder adapted(GetParam(), "norm_tuning", "{}");
  const auto merged = written_and_opened(adapted, GetParam(), folder.path(), {});
  EXPECT_EQ(relative_error(logits_of(*merged), logits_of(*adapted.model)), 0);
}

TEST(HfWriter, ShardsHoldEveryTensorOnce) {
  const TempDir whole, parts;
  const AdaptedDecoder adapted("qwen2", "lora", "{rank: 4}");
  const auto one = written_and_opened(adapted, "qwen2", whole.path(), {});
  const auto many = written_and_opened(adapted, "qwen2", parts.path(), {.shard_bytes = 40000});
  EXPECT_EQ(relative_error(logits_of(*many), logits_of(*one)), 0);
  const auto index = read_json_file(parts / "model.safetensors.index.json");
  EXPECT_EQ(index["weight_map"].size(), merged_tensors(*adapted.model).size());
  int64_t bytes = 0;
  const auto file = formats::SafetensorsFile::open_folder(whole.path());
  for (const auto& [name, tensor] : file.tensors()) bytes += static_cast<int64_t>(tensor.bytes.size());
  EXPECT_EQ(index["metadata"]["total_size"], bytes);
  EXPECT_FALSE(std::filesystem::exists(parts / "model.safetensors"));
  const auto first = index["weight_map"]["model.embed_tokens.weight"].get<std::string>();
  EXPECT_THAT(first, ::testing::StartsWith("model-00001-of-000"));
  EXPECT_TRUE(std::filesystem::exists(parts / first));
}

TEST(HfWriter, RoundsOnceAndSaysByHowMuch) {
  const TempDir folder;
  const AdaptedDecoder adapted("llama", "lora", "{rank: 4}");
  const auto roundings = write_hf_weights(folder.path(), merged_tensors(*adapted.model), {.dtype = at::kBFloat16});
  const auto merged = merged_tensors(*adapted.model);
  ASSERT_EQ(roundings.size(), merged.size());
  for (size_t i = 0; i < merged.size(); ++i) {
    const auto exact = merged[i].value().to(at::kFloat);
    const auto error = (exact.to(at::kBFloat16).to(at::kFloat) - exact).abs().max().item<double>();
    EXPECT_EQ(roundings[i].largest, error) << merged[i].name;
    EXPECT_EQ(roundings[i].name, merged[i].name);
  }
}

TEST(HfWriter, StopsWhereItIsToldTo) {
  const TempDir folder;
  const AdaptedDecoder adapted("llama", "lora", "{rank: 4}");
  const auto stop = [](const std::string& name) {
    if (name.find("layers.1") != std::string::npos) throw Unavailable({.where = name, .what = "stopped"});
  };
  EXPECT_THROW(write_hf_weights(folder.path(), merged_tensors(*adapted.model), {.before_tensor = stop}), Unavailable);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(HfWriter, AnUpdatedHeadIsNoLongerTied) {
  const AdaptedDecoder body("llama", "lora", "{rank: 2, targets: [q_proj]}"), head("llama", "lora", "{rank: 2, targets: [lm_head]}");
  ASSERT_TRUE(tiny_config("llama").tied_head);
  EXPECT_TRUE(head_stays_tied(*body.model));
  EXPECT_FALSE(head_stays_tied(*head.model));
  EXPECT_EQ(merged_tensors(*head.model).back().name, "lm_head.weight");
}

TEST(HfConfig, FindsTheRuleBehindLlama3sFrequencyFactors) {
  for (const int64_t original : {64, 8192}) {
    auto base = base_of("llama");
    base.config.llama3_scaling = Llama3RopeScaling{.factor = original == 64 ? 8.0 : 32.0, .original_max_positions = original};
    base.config.rope_theta = 500000;
    const auto expected = rotary_frequencies(base.config);
    const auto divisors = gguf_frequency_divisors(base.config);
    base.config.llama3_scaling.reset();
    base.config.frequency_divisors.assign(divisors.begin(), divisors.end());
    const auto json = nlohmann::json::parse(hf_config(base, at::kFloat, true, {}).dump());
    const auto found = rotary_frequencies(parse_decoder_config(json, "made"));
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-5 * expected[i]) << original << " " << i;
  }
}

TEST(HfConfig, RefusesFactorsOfNoRule) {
  auto base = base_of("llama");
  base.config.frequency_divisors.assign(static_cast<size_t>(base.config.head_size / 2), 1.0);
  base.config.frequency_divisors[1] = 3.3;
  EXPECT_THROW(hf_config(base, at::kFloat, true, {}), InvalidArgument);
}

}  // namespace
}  // namespace graft::peft
