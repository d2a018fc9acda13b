// Model and adapter folders against damaged files: a graft::Error may come out and nothing else, and memory stays in bounds.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "peft_core/base/log.h"
#include "peft_core/checkpoint/gguf_export.h"
#include "peft_core/checkpoint/hf_writer.h"
#include "peft_core/checkpoint/merged_weights.h"
#include "peft_core/checkpoint/model_files.h"
#include "tests/peft_core/checkpoint/adapted_decoder.h"
#include "tests/support/mutate.h"
#include "tests/support/temp_dir.h"

namespace graft::peft {
namespace {

using testing::AdaptedDecoder;
using testing::fuzz_count;
using testing::read_text;
using testing::TempDir;
using testing::tiny_config;
using testing::tiny_model;
using testing::TinyWeights;
using testing::write_text;

// The models have 0.3 MB; a reader that believed a damaged size would want gigabytes.
constexpr long kMostMemory = (256L << 20) + testing::kQuarantine;

class CheckpointFuzz : public ::testing::Test {
 protected:
  CheckpointFuzz() { set_log_level(LogLevel::kQuiet); }
  ~CheckpointFuzz() override { set_log_level(LogLevel::kInfo); }

  /// Damages `name` in `folder_`, whose other files stay whole, and calls `read`.
  void damage(const std::string& name, const std::vector<std::string>& originals, size_t usual, uint64_t seed,
              const std::vector<std::string>& words, const std::function<void()>& read) {
    const auto count = fuzz_count(usual);
    const auto report = testing::fuzz_reader(originals, count, seed, words, [&](const std::string& bytes) {
      std::filesystem::remove(folder_ / name);  // mapped views of the file before keep what they show
      write_text(folder_ / name, bytes);
      read();
    });
    EXPECT_THAT(report.failures, ::testing::IsEmpty());
    EXPECT_GT(report.refused, count / 10);
    EXPECT_GT(report.accepted, count / 100);
    EXPECT_LT(report.grown_bytes, kMostMemory);
  }

  std::string config_json(const std::string& kind) {
    ModelFiles base;
    base.config = tiny_config(kind);
    base.weights = std::make_shared<TinyWeights>(base.config, 1);
    base.is_gguf = true;
    return hf_config(base, at::kFloat, /*tied_head=*/base.config.tied_head, {}).dump(2);
  }

  void write_model(const std::string& kind) {
    const auto model = tiny_model(kind);
    write_hf_weights(folder_.path(), merged_tensors(*model), {});
    write_text(folder_ / "config.json", config_json(kind));
  }

  std::string gguf_bytes_of(const std::string& kind, kernels::GgmlType type) {
    write_gguf_model(folder_ / "made.gguf", *tiny_model(kind), {.type = type, .name = "tiny", .tokenizer = {}, .before_tensor = {}});
    return read_text(folder_ / "made.gguf");
  }

  static void open_whole(const std::filesystem::path& path, const BaseStorage& storage) {
    const auto files = open_model(path);
    const CausalLm model(files.config, *files.weights, storage);
  }

  TempDir folder_;
};

const std::vector<std::string> kConfigWords = {"llama", "qwen2", "qwen3", "mistral", "hidden_size", "num_hidden_layers", "num_attention_heads",
                                               "num_key_value_heads", "head_dim", "intermediate_size", "vocab_size", "rope_theta", "rope_scaling",
                                               "sliding_window", "true", "false", "null", "silu"};

TEST_F(CheckpointFuzz, DamagedModelConfigsAreRefusedOrRead) {
  write_model("qwen3");
  damage("config.json", {config_json("qwen3")}, 1000, 31, kConfigWords, [&] { open_whole(folder_.path(), testing::kDense); });
}

TEST_F(CheckpointFuzz, DamagedModelWeightsAreRefusedOrRead) {
  write_model("llama");
  damage("model.safetensors", {read_text(folder_ / "model.safetensors")}, 1000, 32, {"F32", "BF16", "F16", "I64", "U8", "q_proj", "k_proj", "weight", "shape", "dtype"},
         [&] { open_whole(folder_.path(), testing::kDense); });
}

TEST_F(CheckpointFuzz, DamagedGgufModelsAreRefusedOrRead) {
  const std::vector<std::string> originals = {gguf_bytes_of("llama", kernels::GgmlType::kQ8_0), gguf_bytes_of("qwen3", kernels::GgmlType::kF32)};
  damage("m.gguf", originals, 1000, 33, {"llama", "qwen2", "qwen3", "attn_q", "attn_k", "ffn_up", "block_count", "head_count", "embedding_length"},
         [&] {
           open_whole(folder_ / "m.gguf", testing::kDense);
           open_whole(folder_ / "m.gguf", testing::kBlocks);
         });
}

void read_and_attach(const std::filesystem::path& folder, const std::string& kind) {
  const auto files = read_adapter(folder);
  const auto model = tiny_model(kind);
  attach_adapter(files, model->places(), "base", /*accept_other_base=*/false, folder.string());
}

void write_tiny_adapter(const std::filesystem::path& folder, const std::string& method, const std::string& yaml) {
  const AdaptedDecoder adapted("qwen2", method, yaml);
  write_adapter(folder, *adapted.attachment, {.base_model = "tiny", .base_fingerprint = "base", .run_id = "1", .unknown_keys = R"({"from_later": [1]})"});
}

const std::vector<std::string> kAdapterWords = {"LORA", "LN_TUNING", "q_proj", "v_proj", "down_proj", "rank_pattern", "alpha_pattern", "target_modules",
                                                "lora_alpha", "modules_to_save", "layers_to_transform", "null", "true", "false", "(", "*", "[", "\\"};

TEST_F(CheckpointFuzz, DamagedLoraConfigsAreRefusedOrAttached) {
  write_tiny_adapter(folder_.path(), "lora", "{rank: 4, targets: [q_proj, v_proj, down_proj], rank_pattern: {q_proj: 2}, alpha_pattern: {v_proj: 3}}");
  damage("adapter_config.json", {read_text(folder_ / "adapter_config.json")}, 1000, 34, kAdapterWords,
         [&] { read_and_attach(folder_.path(), "qwen2"); });
}

TEST_F(CheckpointFuzz, DamagedBiasConfigsAreRefusedOrAttached) {
  write_tiny_adapter(folder_.path(), "bitfit", "{}");
  damage("adapter_config.json", {read_text(folder_ / "adapter_config.json")}, 1000, 35, kAdapterWords,
         [&] { read_and_attach(folder_.path(), "qwen2"); });
}

TEST_F(CheckpointFuzz, DamagedAdapterWeightsAreRefusedOrAttached) {
  write_tiny_adapter(folder_.path(), "lora", "{rank: 2, targets: [q_proj]}");
  damage("adapter_model.safetensors", {read_text(folder_ / "adapter_model.safetensors")}, 1000, 36,
         {"F32", "BF16", "F16", "I64", "lora_A", "lora_B", "q_proj", "base_model.model.", "graft.base_fingerprint", "__metadata__"},
         [&] { read_and_attach(folder_.path(), "qwen2"); });
}

}  // namespace
}  // namespace graft::peft
