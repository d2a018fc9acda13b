#pragma once

#include "peft_core/backbones/decoder_config.h"
#include "peft_core/backbones/weight_source.h"
#include "peft_core/formats/gguf.h"

namespace graft::peft {

/// The model's shape from GGUF metadata. Throws InvalidArgument for an architecture that is not supported, naming the supported ones.
DecoderConfig decoder_config_of(const formats::GgufFile& file);

/// "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight"; empty if GGUF has no such tensor.
std::string gguf_tensor_name(const std::string& published);

/// "llama", "qwen2", "qwen3": what general.architecture says of a model type.
std::string gguf_architecture(const DecoderConfig& config);

/// True for query and key weights and biases of the llama architecture, whose rows a GGUF file holds in llama_row_order().
bool gguf_reorders_rows(const std::string& published, const DecoderConfig& config);

/// Row r of a query or key weight in Hugging Face order lies at row `order[r]` in a GGUF file of the llama architecture, which
/// rotates neighbouring pairs where Hugging Face rotates halves.
std::vector<int64_t> llama_row_order(int64_t heads, int64_t head_size);

/// Weights of a GGUF file under their Hugging Face names and in their order.
class GgufSource final : public WeightSource {
 public:
  GgufSource(formats::GgufFile file, DecoderConfig config) : file_(std::move(file)), config_(std::move(config)) {}

  bool has(const std::string& name) const override;
  at::ScalarType stored_dtype() const override;
  std::vector<int64_t> shape(const std::string& name) const override { return stored(name).shape; }
  at::Tensor small(const std::string& name) const override;
  std::shared_ptr<FrozenLinear> matrix(const std::string& name, const BaseStorage& storage, bool quantizable) const override;

 private:
  const formats::GgufTensor& stored(const std::string& name) const;
  /// The weight as blocks, rows in Hugging Face order.
  std::shared_ptr<FrozenLinear> blocks(const std::string& name) const;

  formats::GgufFile file_;
  DecoderConfig config_;
};

}  // namespace graft::peft
