#include "peft_core/checkpoint/gguf_metadata_entries.h"

#include <algorithm>

#include "kernels/base/error.h"
#include "peft_core/base/log.h"
#include "peft_core/checkpoint/gguf_source.h"

namespace graft::peft {
namespace {

using formats::GgufEntry;
using formats::GgufScalar;
using kernels::GgmlType;

/// llama.cpp's numbers for "mostly this type".
int64_t file_type(GgmlType type) {
  switch (type) {
    case GgmlType::kF32: return 0;
    case GgmlType::kF16: return 1;
    case GgmlType::kQ8_0: return 7;
    case GgmlType::kBF16: return 32;
    default: break;
  }
  throw InvalidArgument({.where = "--type", .what = "cannot be written", .expected = "f16, bf16 or q8_0",
                         .got = std::string(kernels::block_layout(type).name)});
}

void add_rope(std::vector<GgufEntry>& entries, const DecoderConfig& config, const std::string& arch) {
  entries.push_back(gguf_count(arch + ".rope.dimension_count", config.head_size));
  entries.push_back(gguf_number(arch + ".rope.freq_base", config.rope_theta));
  if (config.linear_rope_factor != 1) {
    entries.push_back(gguf_text(arch + ".rope.scaling.type", "linear"));
    entries.push_back(gguf_number(arch + ".rope.scaling.factor", config.linear_rope_factor));
  }
  if (arch != "llama" && !gguf_frequency_divisors(config).empty())
    throw InvalidArgument({.where = "export", .what = "llama.cpp scales rotary frequencies one by one in Llama models only",
                           .got = "Llama 3's rope scaling in a " + config.model_type + " model"});
}

void add_window(std::vector<GgufEntry>& entries, const DecoderConfig& config, const std::string& arch) {
  if (config.sliding_window <= 0) return;
  entries.push_back(gguf_count(arch + ".attention.sliding_window", config.sliding_window));
  if (config.sliding_window < config.max_positions)
    log_warning("[export] llama.cpp gives " + arch + " models no sliding window: in texts of more than " +
                std::to_string(config.sliding_window) + " tokens it attends to all that went before");
}

}  // namespace

GgufEntry gguf_text(std::string key, std::string value) { return {std::move(key), GgufScalar::kString, std::move(value)}; }
GgufEntry gguf_count(std::string key, int64_t value) { return {std::move(key), GgufScalar::kU32, value}; }
GgufEntry gguf_number(std::string key, double value) { return {std::move(key), GgufScalar::kF32, value}; }

std::vector<float> gguf_frequency_divisors(const DecoderConfig& config) {
  auto plain = config;
  plain.llama3_scaling.reset();
  plain.frequency_divisors.clear();
  const auto unscaled = rotary_frequencies(plain), scaled = rotary_frequencies(config);
  std::vector<float> divisors;
  for (size_t i = 0; i < scaled.size(); ++i) divisors.push_back(unscaled[i] / scaled[i]);
  const bool any = std::any_of(divisors.begin(), divisors.end(), [](float d) { return d != 1.0f; });
  return any ? divisors : std::vector<float>{};
}

std::vector<GgufEntry> gguf_model_entries(const DecoderConfig& config, GgmlType type, const std::string& name) {
  const auto arch = gguf_architecture(config);
  std::vector<GgufEntry> entries = {gguf_text("general.architecture", arch),
                                    gguf_text("general.type", "model"),
                                    gguf_text("general.name", name),
                                    gguf_count("general.file_type", file_type(type)),
                                    gguf_count("general.quantization_version", 2),
                                    gguf_count(arch + ".block_count", config.layers),
                                    gguf_count(arch + ".context_length", config.max_positions),
                                    gguf_count(arch + ".embedding_length", config.hidden_size),
                                    gguf_count(arch + ".feed_forward_length", config.intermediate_size),
                                    gguf_count(arch + ".vocab_size", config.vocabulary),
                                    gguf_count(arch + ".attention.head_count", config.heads),
                                    gguf_count(arch + ".attention.head_count_kv", config.key_value_heads),
                                    gguf_number(arch + ".attention.layer_norm_rms_epsilon", config.norm_epsilon)};
  if (config.query_features() != config.hidden_size || arch == "qwen3") {
    entries.push_back(gguf_count(arch + ".attention.key_length", config.head_size));
    entries.push_back(gguf_count(arch + ".attention.value_length", config.head_size));
  }
  add_rope(entries, config, arch);
  add_window(entries, config, arch);
  return entries;
}

}  // namespace graft::peft
