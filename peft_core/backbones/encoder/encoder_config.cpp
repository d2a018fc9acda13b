#include "peft_core/backbones/encoder/encoder_config.h"

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"

namespace graft::peft {
namespace {

kernels::Gelu activation_named(const std::string& name, const std::string& where) {
  if (name == "quick_gelu") return kernels::Gelu::kQuick;
  if (name == "gelu") return kernels::Gelu::kExact;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return kernels::Gelu::kTanh;
  throw InvalidArgument({.where = where + ": hidden_act", .what = "is not supported", .expected = "quick_gelu, gelu or gelu_pytorch_tanh", .got = name});
}

std::string name_of(kernels::Gelu activation) {
  return activation == kernels::Gelu::kQuick ? "quick_gelu" : activation == kernels::Gelu::kExact ? "gelu" : "gelu_pytorch_tanh";
}

}  // namespace

EncoderShape parse_encoder(const nlohmann::json& json, const EncoderShape& defaults, const std::string& where) {
  auto shape = defaults;
  shape.width = json.value("hidden_size", shape.width);
  shape.inner = json.value("intermediate_size", shape.inner);
  shape.heads = json.value("num_attention_heads", shape.heads);
  shape.layers = json.value("num_hidden_layers", shape.layers);
  shape.norm_epsilon = json.value("layer_norm_eps", shape.norm_epsilon);
  shape.activation = activation_named(json.value("hidden_act", name_of(shape.activation)), where);
  if (shape.heads < 1 || shape.width < 1 || shape.inner < 1 || shape.layers < 1 || shape.width % shape.heads != 0)
    throw InvalidArgument({.where = where, .what = "sizes are impossible", .expected = "hidden_size a multiple of num_attention_heads",
                           .got = std::to_string(shape.width) + " and " + std::to_string(shape.heads)});
  return shape;
}

nlohmann::ordered_json encoder_json(const EncoderShape& shape) {
  return {{"hidden_size", shape.width},         {"intermediate_size", shape.inner},       {"num_hidden_layers", shape.layers},
          {"num_attention_heads", shape.heads}, {"layer_norm_eps", shape.norm_epsilon}, {"hidden_act", name_of(shape.activation)}};
}

}  // namespace graft::peft
