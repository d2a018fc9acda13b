#include "pipelines/cloud/prompts.h"

#include <ATen/ATen.h>

#include <cmath>

namespace graft::pipelines {

CrossAttention::CrossAttention(const Shape& shape, at::Generator& draw)
    : shape_(shape), norm_tokens_(shape.width), norm_keys_(shape.key_width), norm_inner_(shape.width),
      query_(shape.width, shape.width, draw), key_(shape.key_width, shape.width, draw), value_(shape.key_width, shape.width, draw),
      out_(shape.width, shape.width, draw), up_(shape.width, 8 * shape.width, draw), down_(4 * shape.width, shape.width, draw) {
  if (shape_.width % shape_.heads != 0) shape_.heads = 1;
  if (shape_.silent_start) out_.scale(0), down_.scale(0);
}

at::Tensor CrossAttention::attend(const at::Tensor& tokens, const at::Tensor& keys) const {
  const auto k = keys.dim() == 2 ? keys.unsqueeze(0) : keys;
  const int64_t batch = k.size(0), size = shape_.width / shape_.heads;
  const auto split = [&](const at::Tensor& x) { return x.view({x.size(0), x.size(1), shape_.heads, size}).transpose(1, 2); };
  const auto normed = norm_keys_.forward(k);
  const auto q = split(query_.forward(norm_tokens_.forward(tokens)).unsqueeze(0)) / std::sqrt(static_cast<double>(size));
  const auto weight = at::matmul(q, split(key_.forward(normed)).transpose(-1, -2)).softmax(-1);  // (B, heads, Q, S)
  const auto mixed = at::matmul(weight, split(value_.forward(normed))).transpose(1, 2).reshape({batch, tokens.size(0), shape_.width});
  const auto result = out_.forward(mixed);
  return keys.dim() == 2 ? result.squeeze(0) : result;
}

at::Tensor CrossAttention::forward(const at::Tensor& tokens, const at::Tensor& keys) const {
  auto z = attend(tokens, keys);
  if (shape_.residual) z = z + tokens;
  const auto halves = up_.forward(norm_inner_.forward(z)).chunk(2, -1);
  return z + down_.forward(halves[0] * at::gelu(halves[1]));
}

void CrossAttention::list_choice(const std::string& name, peft::NamedTensors& leaves) const {
  norm_tokens_.list(name + ".norm_tokens", leaves);
  query_.list(name + ".query", leaves);
  key_.list(name + ".key", leaves);
}

void CrossAttention::list_rest(const std::string& name, peft::NamedTensors& leaves) const {
  norm_keys_.list(name + ".norm_keys", leaves);
  value_.list(name + ".value", leaves);
  out_.list(name + ".out", leaves);
  norm_inner_.list(name + ".norm_inner", leaves);
  up_.list(name + ".up", leaves);
  down_.list(name + ".down", leaves);
}

void CrossAttention::list(const std::string& name, peft::NamedTensors& leaves) const {
  list_choice(name, leaves);
  list_rest(name, leaves);
}

void CrossAttention::list_trainable(const std::string& name, peft::NamedTensors& leaves) const {
  if (!shape_.one_key) list_choice(name, leaves);
  list_rest(name, leaves);
}

}  // namespace graft::pipelines
