#include "peft_core/checkpoint/gguf_source.h"

#include <cstring>

#include "kernels/base/error.h"
#include "peft_core/base/text_distance.h"
#include "peft_core/checkpoint/safetensors_source.h"
#include "peft_core/slots/quantized_linear.h"

namespace graft::peft {
namespace {

constexpr std::pair<std::string_view, std::string_view> kLayerParts[] = {
    {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},           {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"}, {"self_attn.q_norm", "attn_q_norm"},      {"self_attn.k_norm", "attn_k_norm"},
    {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},                {"mlp.down_proj", "ffn_down"},
    {"input_layernorm", "attn_norm"},    {"post_attention_layernorm", "ffn_norm"},
};

const std::vector<std::string> kArchitectures = {"llama", "qwen2", "qwen3"};

std::string where_of(const formats::GgufFile& file) { return file.file()->path().string(); }

int64_t integer_or(const formats::GgufFile& file, const std::string& key, int64_t otherwise) {
  return file.has(key) ? file.integer(key) : otherwise;
}

void read_rope(const formats::GgufFile& file, const std::string& arch, DecoderConfig& config) {
  if (file.has(arch + ".rope.freq_base")) config.rope_theta = file.number(arch + ".rope.freq_base");
  if (file.has(arch + ".rope.scaling.type")) {
    const auto& type = file.text(arch + ".rope.scaling.type");
    if (type == "linear") {
      config.linear_rope_factor = file.number(arch + ".rope.scaling.factor");
    } else if (type != "none") {
      throw InvalidArgument({.where = where_of(file), .what = "rope scaling '" + type + "' is not supported",
                             .expected = "none, linear, or frequency factors (Llama 3)"});
    }
  }
  const auto factors = file.tensors().find("rope_freqs.weight");
  if (factors == file.tensors().end()) return;
  std::vector<float> values(static_cast<size_t>(config.head_size / 2));
  if (factors->second.shape != std::vector<int64_t>{config.head_size / 2})
    throw InvalidArgument({.where = where_of(file), .what = "rope_freqs.weight has another length than half a head"});
  kernels::dequantize_blocks(factors->second.type, factors->second.bytes, std::span<float>(values));
  config.frequency_divisors.assign(values.begin(), values.end());
}

}  // namespace

DecoderConfig decoder_config_of(const formats::GgufFile& file) {
  const auto& arch = file.text("general.architecture");
  if (std::find(kArchitectures.begin(), kArchitectures.end(), arch) == kArchitectures.end())
    throw InvalidArgument({.where = where_of(file), .what = "architecture '" + arch + "' is not supported",
                           .expected = join(kArchitectures)});
  DecoderConfig config;
  config.model_type = arch;
  config.hidden_size = file.integer(arch + ".embedding_length");
  config.layers = file.integer(arch + ".block_count");
  config.heads = file.integer(arch + ".attention.head_count");
  config.key_value_heads = integer_or(file, arch + ".attention.head_count_kv", config.heads);
  config.intermediate_size = file.integer(arch + ".feed_forward_length");
  config.max_positions = integer_or(file, arch + ".context_length", 2048);
  config.norm_epsilon = file.number(arch + ".attention.layer_norm_rms_epsilon");
  config.sliding_window = integer_or(file, arch + ".attention.sliding_window", 0);
  config.query_key_norm = arch == "qwen3";
  config.tied_head = !file.tensors().contains("output.weight");
  if (config.heads > 0)
    config.head_size = integer_or(file, arch + ".attention.key_length",
                                  integer_or(file, arch + ".rope.dimension_count", config.hidden_size / config.heads));
  const auto embedding = file.tensors().find("token_embd.weight");
  if (embedding == file.tensors().end() || embedding->second.shape.size() != 2)
    throw IoError({.where = where_of(file), .what = "lacks the tensor 'token_embd.weight'"});
  config.vocabulary = embedding->second.shape[0];
  check_decoder_config(config, where_of(file));
  read_rope(file, arch, config);
  return config;
}

std::string gguf_tensor_name(const std::string& published) {
  if (published == "model.embed_tokens.weight") return "token_embd.weight";
  if (published == "model.norm.weight") return "output_norm.weight";
  if (published == "lm_head.weight") return "output.weight";
  constexpr std::string_view prefix = "model.layers.";
  if (!published.starts_with(prefix)) return {};
  const auto dot = published.find('.', prefix.size()), end = published.rfind('.');
  if (dot == std::string::npos || end <= dot) return {};
  const auto number = published.substr(prefix.size(), dot - prefix.size()), part = published.substr(dot + 1, end - dot - 1);
  for (const auto& [hugging_face, gguf] : kLayerParts)
    if (part == hugging_face) return "blk." + number + "." + std::string(gguf) + published.substr(end);
  return {};
}

std::string gguf_architecture(const DecoderConfig& config) { return config.model_type == "mistral" ? "llama" : config.model_type; }

bool gguf_reorders_rows(const std::string& published, const DecoderConfig& config) {
  const bool rotated = published.find(".q_proj.") != std::string::npos || published.find(".k_proj.") != std::string::npos;
  return rotated && gguf_architecture(config) == "llama";
}

std::vector<int64_t> llama_row_order(int64_t heads, int64_t head_size) {
  std::vector<int64_t> order;
  order.reserve(static_cast<size_t>(heads * head_size));
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t half = 0; half < 2; ++half)
      for (int64_t i = 0; i < head_size / 2; ++i) order.push_back(h * head_size + 2 * i + half);
  return order;
}

bool GgufSource::has(const std::string& name) const {
  const auto stored_name = gguf_tensor_name(name);
  return !stored_name.empty() && file_.tensors().contains(stored_name);
}

const formats::GgufTensor& GgufSource::stored(const std::string& name) const {
  const auto stored_name = gguf_tensor_name(name);
  const auto found = file_.tensors().find(stored_name);
  if (found == file_.tensors().end())
    throw IoError({.where = where_of(file_), .what = "lacks the tensor '" + stored_name + "'"});
  return found->second;
}

at::ScalarType GgufSource::stored_dtype() const {
  // The embedding may be kept more precise than the rest, so a layer's weight speaks for the file.
  switch (stored("model.layers.0.mlp.down_proj.weight").type) {
    case kernels::GgmlType::kF32: return at::kFloat;
    case kernels::GgmlType::kF16: return at::kHalf;
    case kernels::GgmlType::kBF16: return at::kBFloat16;
    default: return at::kByte;
  }
}

std::shared_ptr<FrozenLinear> GgufSource::blocks(const std::string& name) const {
  const auto& tensor = stored(name);
  if (tensor.shape.size() != 2)
    throw IoError({.where = where_of(file_), .what = "tensor '" + tensor.name + "' is no matrix"});
  if (!gguf_reorders_rows(name, config_))
    return gguf_linear(tensor.type, tensor.shape[0], tensor.shape[1], tensor.bytes, file_.file());
  const auto order = llama_row_order(tensor.shape[0] / config_.head_size, config_.head_size);
  const auto row_bytes = tensor.bytes.size() / static_cast<size_t>(tensor.shape[0]);
  auto reordered = std::make_shared<std::vector<std::byte>>(tensor.bytes.size());
  for (size_t row = 0; row < order.size(); ++row)
    std::memcpy(reordered->data() + row * row_bytes, tensor.bytes.data() + static_cast<size_t>(order[row]) * row_bytes, row_bytes);
  file_.file()->let_go(tensor.bytes);
  return gguf_linear(tensor.type, tensor.shape[0], tensor.shape[1], *reordered, reordered);
}

at::Tensor GgufSource::small(const std::string& name) const {
  const auto& tensor = stored(name);
  auto values = at::empty(tensor.shape, at::kFloat);
  kernels::dequantize_blocks(tensor.type, tensor.bytes,
                             std::span<float>(values.mutable_data_ptr<float>(), static_cast<size_t>(values.numel())));
  if (gguf_reorders_rows(name, config_)) {
    const auto order = llama_row_order(tensor.shape[0] / config_.head_size, config_.head_size);
    values = values.index_select(0, at::tensor(at::ArrayRef<int64_t>(order), at::kLong));
  }
  return values;
}

std::shared_ptr<FrozenLinear> GgufSource::matrix(const std::string& name, const BaseStorage& storage, bool quantizable) const {
  auto stored_blocks = blocks(name);
  if (storage.quantize == Quantize::kKeep) return stored_blocks;
  auto dense = at::empty({stored_blocks->out_features(), stored_blocks->in_features()},
                         storage.quantize == Quantize::kNf4 && quantizable ? at::kFloat : storage.dtype);
  // Expanded a part at a time, so that a large embedding never stands in memory twice.
  constexpr int64_t kRows = 4096;
  for (int64_t begin = 0; begin < dense.size(0); begin += kRows) {
    const int64_t count = std::min(kRows, dense.size(0) - begin);
    const auto expanded = dense.scalar_type() == at::kBFloat16 ? at::kBFloat16 : at::kFloat;  // what blocks expand into
    dense.narrow(0, begin, count).copy_(stored_blocks->rows(begin, count, expanded));
  }
  file_.file()->let_go(stored(name).bytes);
  std::function<at::Tensor()> original;
  if (stored_blocks->lossless()) original = [stored_blocks] { return stored_blocks->weight(); };
  return frozen_from_dense(dense, storage, quantizable, std::move(original));
}

}  // namespace graft::peft
