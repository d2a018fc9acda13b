#include "peft_core/checkpoint/gguf_export.h"

#include <gmock/gmock.h>

#include "kernels/base/error.h"
#include "peft_core/checkpoint/gguf_lora.h"
#include "peft_core/checkpoint/gguf_source.h"
#include "peft_core/checkpoint/model_files.h"
#include "tests/peft_core/checkpoint/adapted_decoder.h"
#include "tests/support/gradcheck.h"
#include "tests/support/temp_dir.h"

namespace graft::peft {
namespace {

using kernels::GgmlType;
using testing::AdaptedDecoder;
using testing::logits_of;
using testing::relative_error;
using testing::TempDir;

constexpr double kUnit32 = 0x1p-24;

std::unique_ptr<CausalLm> opened(const std::filesystem::path& file) {
  const auto files = open_model(file);
  return std::make_unique<CausalLm>(files.config, *files.weights, testing::kDense);
}

class ExportedModels : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Kinds, ExportedModels, ::testing::Values("qwen2", "qwen3", "llama", "mistral"),
                         [](const auto& instance) { return instance.param; });

TEST_P(ExportedModels, ReadBackGiveTheLogitsOfBaseAndAdapter) {
  const TempDir folder;
  const AdaptedDecoder adapted(GetParam(), "lora", "{rank: 4}");
  const auto roundings = write_gguf_model(folder / "m.gguf", *adapted.model, {.type = GgmlType::kF32, .name = "tiny"});
  for (const auto& rounding : roundings) EXPECT_EQ(rounding.largest, 0) << rounding.name;
  // Both forward passes err by 160 u (see the decoder's test); q and k lie in another order meanwhile, which costs nothing.
  EXPECT_LT(relative_error(logits_of(*opened(folder / "m.gguf")), logits_of(*adapted.model)), 2 * 160 * kUnit32);
}

TEST_P(ExportedModels, Q8BlocksWhereRowsFillThemAndF16ElseAndNormsInF32) {
  const TempDir folder;
  const AdaptedDecoder adapted(GetParam(), "lora", "{rank: 4}");
  const auto roundings = write_gguf_model(folder / "m.gguf", *adapted.model, {.type = GgmlType::kQ8_0, .name = "tiny"});
  const auto file = formats::GgufFile::open(folder / "m.gguf");
  for (const auto& [name, tensor] : file.tensors()) {
    const bool vector = tensor.shape.size() == 1;
    EXPECT_EQ(tensor.type, vector ? GgmlType::kF32 : tensor.shape[1] % 32 == 0 ? GgmlType::kQ8_0 : GgmlType::kF16) << name;
  }
  for (const auto& rounding : roundings) {
    // Half a step of max / 127 a block; over a normal spread that is under a hundredth of the weights' size.
    EXPECT_LE(rounding.squared_error, 1e-4 * rounding.squared_weight) << rounding.name;
  }
}

TEST(GgufExport, RowOrderIsTheInverseOfTheReaders) {
  const auto config = testing::tiny_config("llama");
  const auto rows = at::arange(config.query_features(), at::kFloat).unsqueeze(1);
  const auto stored = in_gguf_row_order("model.layers.0.self_attn.q_proj.weight", rows, config);
  const auto order = llama_row_order(config.heads, config.head_size);
  EXPECT_TRUE(at::equal(stored.index_select(0, at::tensor(at::ArrayRef<int64_t>(order), at::kLong)), rows));
  EXPECT_FALSE(at::equal(stored, rows));
  EXPECT_TRUE(at::equal(in_gguf_row_order("model.layers.0.self_attn.v_proj.weight", rows, config), rows));
  EXPECT_TRUE(at::equal(in_gguf_row_order("model.layers.0.self_attn.q_proj.weight", rows, testing::tiny_config("qwen2")), rows));
}

at::Tensor values_of(const formats::GgufTensor& tensor) {
  auto values = at::empty(tensor.shape, at::kFloat);
  kernels::dequantize_blocks(tensor.type, tensor.bytes, {values.mutable_data_ptr<float>(), static_cast<size_t>(values.numel())});
  return values;
}

/// What llama.cpp adds to a weight: alpha over the tensor's rank, times B A.
at::Tensor update_in(const formats::GgufFile& file, const std::string& name) {
  const auto a = values_of(file.tensors().at(name + ".lora_a")), b = values_of(file.tensors().at(name + ".lora_b"));
  return at::mm(b, a) * (file.number("adapter.lora.alpha") / static_cast<double>(a.size(0)));
}

TEST_P(ExportedModels, AdapterFilesGiveEveryLayerItsOwnScale) {
  const TempDir folder;
  for (const auto* yaml : {"{rank: 4, alpha: 12, alpha_pattern: {k_proj: 5}, rank_pattern: {q_proj: 2}}",
                           "{rank: 4, alpha: 12, use_rslora: true, rank_pattern: {q_proj: 2}}", "{rank: 4, alpha: 0, alpha_pattern: {k_proj: 5}}"}) {
    const AdaptedDecoder adapted(GetParam(), "lora", yaml);
    write_gguf_lora(folder / "a.gguf", *adapted.model, adapted.files, GgmlType::kF32, "tiny");
    const auto file = formats::GgufFile::open(folder / "a.gguf");
    EXPECT_EQ(file.tensors().size(), 2 * adapted.model->places().linears.size());
    for (const auto* slot : adapted.model->places().linears) {
      const auto name = slot->name() + ".weight";
      const auto expected = in_gguf_row_order(name, slot->adapter()->merged_weight(*slot->base()) - slot->base()->weight(), adapted.model->config());
      // The difference of merged and base weight errs by u of the weight, which is below 4 here; the rest is far smaller.
      EXPECT_LT((update_in(file, gguf_tensor_name(name)) - expected).abs().max().item<double>(), 4 * 4 * kUnit32) << yaml << " " << name;
    }
  }
}

TEST(GgufLora, RefusesWhatSuchAFileCannotHold) {
  const TempDir folder;
  const auto refuses = [&](const AdaptedDecoder& adapted) {
    EXPECT_THROW(write_gguf_lora(folder / "a.gguf", *adapted.model, adapted.files, GgmlType::kF16, "tiny"), InvalidArgument);
    EXPECT_FALSE(std::filesystem::exists(folder / "a.gguf"));
  };
  refuses(AdaptedDecoder("llama", "norm_tuning", "{}"));
  refuses(AdaptedDecoder("llama", "lora", "{rank: 2, targets: [lm_head]}"));
  AdaptedDecoder saves("qwen2", "lora", "{rank: 2}");
  saves.files.saved_modules["model.norm.weight"] = at::ones({64});
  refuses(saves);
}

TEST(GgufExport, NamesTheWeightThatF16CannotHold) {
  const TempDir folder;
  const auto model = testing::tiny_model("llama");
  auto* slot = model->places().linears[3];
  auto weight = slot->base()->weight();
  weight[0][0] = 1e5;
  slot->replace_base(dense_linear(weight));
  try {
    write_gguf_model(folder / "m.gguf", *model, {.type = GgmlType::kF16, .name = "tiny"});
    FAIL() << "was written";
  } catch (const InvalidArgument& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr(slot->name()));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  write_gguf_model(folder / "m.gguf", *model, {.type = GgmlType::kBF16, .name = "tiny"});
}

}  // namespace
}  // namespace graft::peft
