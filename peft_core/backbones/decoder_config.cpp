#include "peft_core/backbones/decoder_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "kernels/base/error.h"
#include "peft_core/base/text_distance.h"

namespace graft::peft {
namespace {

using nlohmann::json;

[[noreturn]] void refuse(const std::string& where, const std::string& what, const std::string& expected, const std::string& got) {
  throw InvalidArgument({.where = where, .what = what, .expected = expected, .got = got});
}

int64_t size(const json& config, const char* key, const std::string& where) {
  const auto found = config.find(key);
  if (found == config.end() || !found->is_number_integer() || found->get<int64_t>() <= 0 || found->get<int64_t>() > (1ll << 31))
    refuse(where, std::string("needs a positive '") + key + "'", "a whole number", found == config.end() ? "nothing" : found->dump());
  return found->get<int64_t>();
}

int64_t size_or(const json& config, const char* key, int64_t otherwise, const std::string& where) {
  const auto found = config.find(key);
  return found == config.end() || found->is_null() ? otherwise : size(config, key, where);
}

double number_or(const json& config, const char* key, double otherwise, const std::string& where) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return otherwise;
  if (!found->is_number()) refuse(where, std::string("'") + key + "' is no number", "a number", found->dump());
  return found->get<double>();
}

std::string text_or(const json& config, const char* key, const std::string& otherwise, const std::string& where) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return otherwise;
  if (!found->is_string()) refuse(where, std::string("'") + key + "' is no text", "a name", found->dump());
  return found->get<std::string>();
}

bool flag(const json& config, const char* key) {
  const auto found = config.find(key);
  return found != config.end() && found->is_boolean() && found->get<bool>();
}

void read_rope(const json& config, DecoderConfig& to, const std::string& where) {
  // transformers 5 writes rope_parameters (with rope_theta inside), earlier versions rope_scaling beside rope_theta.
  const auto parameters = config.find("rope_parameters");
  const json scaling = parameters != config.end() && parameters->is_object() ? *parameters : config.value("rope_scaling", json());
  to.rope_theta = number_or(config, "rope_theta", to.rope_theta, where);
  if (!scaling.is_object()) return;
  to.rope_theta = number_or(scaling, "rope_theta", to.rope_theta, where);
  const auto type = text_or(scaling, "rope_type", text_or(scaling, "type", "default", where), where);
  if (type == "default") return;
  if (type == "linear") {
    to.linear_rope_factor = number_or(scaling, "factor", 1, where);
  } else if (type == "llama3") {
    to.llama3_scaling = Llama3RopeScaling{number_or(scaling, "factor", 8, where), number_or(scaling, "low_freq_factor", 1, where),
                                          number_or(scaling, "high_freq_factor", 4, where),
                                          size_or(scaling, "original_max_position_embeddings", 8192, where)};
  } else {
    refuse(where, "rope scaling '" + type + "' is not supported", "default, linear or llama3", type);
  }
}

/// Qwen's layers from max_window_layers on are windowed.
void read_windowed_layers(const json& config, DecoderConfig& to, const std::string& where) {
  const auto first = number_or(config, "max_window_layers", 28, where);  // transformers' default
  if (first >= static_cast<double>(to.layers)) to.sliding_window = 0;
  if (first > 0 && first < static_cast<double>(to.layers))
    refuse(where, "has a sliding window in some layers only (max_window_layers)", "0 or " + std::to_string(to.layers),
           std::to_string(static_cast<int64_t>(first)));
}

void refuse_unsupported_parts(const json& config, const std::string& where) {
  if (const auto activation = text_or(config, "hidden_act", "silu", where); activation != "silu" && activation != "swish")
    refuse(where, "the activation is not supported", "silu", activation);
  if (config.contains("quantization_config") && !config["quantization_config"].is_null())
    refuse(where, "a checkpoint that is stored quantised is not supported", "fp32, fp16 or bf16 weights, or a GGUF file",
           config["quantization_config"].dump());
}

}  // namespace

const std::vector<std::string>& supported_model_types() {
  static const std::vector<std::string> types = {"llama", "mistral", "qwen2", "qwen3"};
  return types;
}

DecoderConfig parse_decoder_config(const json& config, const std::string& where) {
  if (!config.is_object()) refuse(where, "is no JSON object", "a Hugging Face config.json", config.type_name());
  DecoderConfig to;
  to.model_type = text_or(config, "model_type", "", where);
  const auto& known = supported_model_types();
  if (std::find(known.begin(), known.end(), to.model_type) == known.end())
    throw InvalidArgument({.where = where, .what = "model_type '" + to.model_type.substr(0, 80) + "' is not supported", .expected = join(known)});
  refuse_unsupported_parts(config, where);

  to.hidden_size = size(config, "hidden_size", where);
  to.layers = size(config, "num_hidden_layers", where);
  to.heads = size(config, "num_attention_heads", where);
  to.key_value_heads = size_or(config, "num_key_value_heads", to.heads, where);
  to.head_size = size_or(config, "head_dim", to.model_type == "qwen3" ? 128 : to.hidden_size / to.heads, where);
  to.intermediate_size = size(config, "intermediate_size", where);
  to.vocabulary = size(config, "vocab_size", where);
  to.max_positions = size_or(config, "max_position_embeddings", 2048, where);
  to.norm_epsilon = number_or(config, "rms_norm_eps", 1e-6, where);
  to.tied_head = flag(config, "tie_word_embeddings");
  to.query_key_norm = to.model_type == "qwen3";
  const bool windowed = to.model_type == "mistral" || flag(config, "use_sliding_window");
  if (windowed) to.sliding_window = size_or(config, "sliding_window", 0, where);
  if (windowed && to.model_type != "mistral") read_windowed_layers(config, to, where);
  read_rope(config, to, where);
  check_decoder_config(to, where);
  return to;
}

void check_decoder_config(const DecoderConfig& config, const std::string& where) {
  const auto expect = [&](bool holds, const std::string& what) {
    if (!holds) throw InvalidArgument({.where = where, .what = what});
  };
  expect(config.hidden_size > 0 && config.layers > 0 && config.heads > 0 && config.key_value_heads > 0 && config.head_size > 0 &&
             config.intermediate_size > 0 && config.vocabulary > 0,
         "has a size that is not positive");
  // Far beyond any model, and small enough that no product of two overflows and no table of one claims gigabytes.
  expect(config.hidden_size <= 1 << 20 && config.intermediate_size <= 1 << 22 && config.heads <= 1 << 16 && config.head_size <= 1 << 16 &&
             config.vocabulary <= 1 << 28,
         "has a size that no model has");
  expect(config.heads % config.key_value_heads == 0, "num_attention_heads is no multiple of num_key_value_heads");
  expect(config.head_size % 2 == 0, "head_dim is odd");
  expect(config.layers <= 4096, "has more than 4,096 layers");
  expect(config.norm_epsilon > 0 && config.rope_theta > 0 && config.linear_rope_factor > 0, "has a constant that is not positive");
}

std::vector<float> rotary_frequencies(const DecoderConfig& config) {
  const int64_t half = config.head_size / 2;
  std::vector<float> frequencies(static_cast<size_t>(half));
  for (int64_t i = 0; i < half; ++i) {
    const double exponent = static_cast<double>(2 * i) / static_cast<double>(config.head_size);
    double frequency = 1.0 / std::pow(config.rope_theta, exponent) / config.linear_rope_factor;
    if (const auto& s = config.llama3_scaling) {
      const double wavelength = 2 * std::numbers::pi / frequency, original = static_cast<double>(s->original_max_positions);
      const double low = original / s->low_frequency_factor, high = original / s->high_frequency_factor;
      const double smooth = (original / wavelength - s->low_frequency_factor) / (s->high_frequency_factor - s->low_frequency_factor);
      if (wavelength > low) {
        frequency /= s->factor;
      } else if (wavelength >= high) {
        frequency = (1 - smooth) * frequency / s->factor + smooth * frequency;
      }
    }
    if (!config.frequency_divisors.empty()) frequency /= config.frequency_divisors[static_cast<size_t>(i)];
    frequencies[static_cast<size_t>(i)] = static_cast<float>(frequency);
  }
  return frequencies;
}

}  // namespace graft::peft
