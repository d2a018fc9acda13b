#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace graft::peft {

/// Llama 3's stretching of low rotary frequencies.
struct Llama3RopeScaling {
  double factor = 8, low_frequency_factor = 1, high_frequency_factor = 4;
  int64_t original_max_positions = 8192;
};

/// The shape of a decoder of the Llama family: Llama 2/3, Mistral, SmolLM2, Qwen2/2.5, Qwen3.
struct DecoderConfig {
  std::string model_type;          ///< "llama", "mistral", "qwen2", "qwen3"
  int64_t hidden_size = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t key_value_heads = 0;
  int64_t head_size = 0;
  int64_t intermediate_size = 0;
  int64_t vocabulary = 0;
  int64_t max_positions = 0;
  double norm_epsilon = 1e-5;
  double rope_theta = 10000;
  std::optional<Llama3RopeScaling> llama3_scaling;
  double linear_rope_factor = 1;   ///< positions are divided by it
  std::vector<double> frequency_divisors;  ///< (head_size / 2), from GGUF files that carry them; empty: none
  int64_t sliding_window = 0;      ///< keys a query sees; 0: all
  bool tied_head = false;
  bool query_key_norm = false;     ///< Qwen3

  int64_t query_features() const { return heads * head_size; }
  int64_t key_value_features() const { return key_value_heads * head_size; }
};

/// From a Hugging Face config.json. Throws InvalidArgument for a model_type or rope scaling that is not supported, naming the
/// supported ones, and for missing or contradicting sizes.
DecoderConfig parse_decoder_config(const nlohmann::json& config, const std::string& where);

/// Throws InvalidArgument if sizes contradict each other (heads that do not divide, zero sizes, odd head size).
void check_decoder_config(const DecoderConfig& config, const std::string& where);

/// The model types that parse_decoder_config takes.
const std::vector<std::string>& supported_model_types();

/// Inverse frequencies of the rotary embedding, (head_size / 2).
std::vector<float> rotary_frequencies(const DecoderConfig& config);

}  // namespace graft::peft
