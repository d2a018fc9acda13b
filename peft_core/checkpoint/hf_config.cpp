#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/files.h"
#include "peft_core/base/json_files.h"
#include "peft_core/checkpoint/hf_writer.h"

namespace graft::peft {
namespace {

using Json = nlohmann::ordered_json;

std::string torch_name(at::ScalarType dtype) {
  return dtype == at::kFloat ? "float32" : dtype == at::kHalf ? "float16" : "bfloat16";
}

/// GGUF holds these as fp32; 9.99999974e-06 should read 1e-05 again.
double as_written(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, static_cast<float>(value)).ptr;
  std::from_chars(text, end, value);
  return value;
}

std::string class_name(const std::string& model_type) {
  if (model_type == "mistral") return "MistralForCausalLM";
  if (model_type == "qwen2") return "Qwen2ForCausalLM";
  return model_type == "qwen3" ? "Qwen3ForCausalLM" : "LlamaForCausalLM";
}

bool gives_these_frequencies(DecoderConfig config, const std::vector<float>& wanted) {
  const auto made = rotary_frequencies(config);
  for (size_t i = 0; i < wanted.size(); ++i)
    // GGUF stores divisors in fp32, so 1e-5 is a hundred times their rounding and far below any step between settings.
    if (std::abs(made[i] - wanted[i]) > 1e-5f * wanted[i]) return false;
  return true;
}

/// GGUF has the divisors that Llama 3's rule gives, not the rule. Its constants are known but for the trained length.
Llama3RopeScaling recovered_scaling(const DecoderConfig& config, const std::string& where) {
  const auto wanted = rotary_frequencies(config);
  auto candidate = config;
  candidate.frequency_divisors.clear();
  const double factor = *std::max_element(config.frequency_divisors.begin(), config.frequency_divisors.end());
  for (int64_t original = 32; original <= 1 << 20; original *= 2) {
    candidate.llama3_scaling = Llama3RopeScaling{.factor = std::round(factor * 1e4) / 1e4, .original_max_positions = original};
    if (gives_these_frequencies(candidate, wanted)) return *candidate.llama3_scaling;
  }
  throw InvalidArgument({.where = where, .what = "has frequency factors (rope_freqs.weight) for which Hugging Face folders have no words",
                         .expected = "those of Llama 3's rule", .hint = "export to GGUF keeps them"});
}

void add_rope(Json& json, const DecoderConfig& config, const std::string& where) {
  json["rope_theta"] = as_written(config.rope_theta);
  const bool divided = std::any_of(config.frequency_divisors.begin(), config.frequency_divisors.end(), [](double d) { return d != 1; });
  if (config.linear_rope_factor != 1) {
    json["rope_scaling"] = {{"rope_type", "linear"}, {"type", "linear"}, {"factor", as_written(config.linear_rope_factor)}};
  } else if (divided || config.llama3_scaling) {
    const auto scaling = config.llama3_scaling ? *config.llama3_scaling : recovered_scaling(config, where);
    json["rope_scaling"] = {{"rope_type", "llama3"}, {"factor", scaling.factor}, {"low_freq_factor", scaling.low_frequency_factor},
                            {"high_freq_factor", scaling.high_frequency_factor},
                            {"original_max_position_embeddings", scaling.original_max_positions}};
  } else {
    json["rope_scaling"] = nullptr;
  }
}

void add_biases(Json& json, const ModelFiles& base) {
  if (base.config.model_type == "qwen2") return;  // its q, k and v always have one
  const auto has = [&](const std::string& part) { return base.weights->has("model.layers.0." + part + ".bias"); };
  const bool queries = has("self_attn.q_proj"), output = has("self_attn.o_proj");
  if (queries != output)
    throw InvalidArgument({.where = base.path.string(), .what = "has a bias on some of q, k, v and o only",
                           .expected = "on all or none, as Hugging Face's " + class_name(base.config.model_type) + " has them"});
  json["attention_bias"] = queries;
  if (base.config.model_type == "llama") json["mlp_bias"] = has("mlp.up_proj");
}

Json made_config(const ModelFiles& base, const HfTokenRoles& roles) {
  auto c = base.config;
  // The llama architecture of GGUF knows no window; with one the model is a Mistral.
  if (c.model_type == "llama" && c.sliding_window > 0) c.model_type = "mistral";
  Json json = {{"architectures", {class_name(c.model_type)}},
               {"model_type", c.model_type},
               {"hidden_act", "silu"},
               {"hidden_size", c.hidden_size},
               {"intermediate_size", c.intermediate_size},
               {"num_hidden_layers", c.layers},
               {"num_attention_heads", c.heads},
               {"num_key_value_heads", c.key_value_heads},
               {"head_dim", c.head_size},
               {"max_position_embeddings", c.max_positions},
               {"rms_norm_eps", as_written(c.norm_epsilon)},
               {"vocab_size", c.vocabulary},
               {"initializer_range", 0.02},
               {"attention_dropout", 0.0},
               {"use_cache", true}};
  if (c.model_type == "mistral") json["sliding_window"] = c.sliding_window > 0 ? Json(c.sliding_window) : Json(nullptr);
  if (c.model_type.starts_with("qwen")) {
    json["use_sliding_window"] = c.sliding_window > 0;
    if (c.sliding_window > 0) json.update({{"sliding_window", c.sliding_window}, {"max_window_layers", 0}});
  }
  add_rope(json, c, base.path.string());
  add_biases(json, base);
  add_token_roles(json, roles);
  return json;
}

}  // namespace

void add_token_roles(Json& json, const HfTokenRoles& roles) {
  if (roles.bos) json["bos_token_id"] = *roles.bos;
  if (roles.eos) json["eos_token_id"] = *roles.eos;
  if (roles.pad) json["pad_token_id"] = *roles.pad;
}

Json hf_config(const ModelFiles& base, at::ScalarType dtype, bool tied_head, const HfTokenRoles& roles) {
  const auto file = base.path / "config.json";
  auto json = base.is_gguf ? made_config(base, roles) : parse_ordered_json(MappedFile::open(file)->text(), file.string());
  json["tie_word_embeddings"] = tied_head;
  // transformers before 4.56 writes and reads torch_dtype, later ones write dtype and read both.
  if (json.contains("dtype")) json["dtype"] = torch_name(dtype);
  if (json.contains("torch_dtype") || !json.contains("dtype")) json["torch_dtype"] = torch_name(dtype);
  return json;
}

}  // namespace graft::peft
