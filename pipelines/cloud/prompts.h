#pragma once

#include "pipelines/cloud/dense.h"

namespace graft::pipelines {

/// Learnt tokens look at what is known and change by it:
///   z = [q +] attention(norm(q), norm(keys)),  z + down(GEGLU(up(norm(z)))).
/// The residual around the attention is missing in the released code, so that all tokens become equal where there is only one key.
///
/// Axes: Q tokens of width C, S keys of width E.
class CrossAttention {
 public:
  struct Shape {
    int64_t width = 0, key_width = 0, heads = 8;
    bool residual = true;
    bool one_key = false;       ///< nothing to choose: queries and keys have no effect and are not trained
    bool silent_start = false;  ///< with `residual`: gives the tokens back unchanged until it is trained
  };
  CrossAttention() = default;
  CrossAttention(const Shape& shape, at::Generator& draw);

  /// tokens (Q, C), keys (S, E) or (B, S, E) -> (Q, C) or (B, Q, C).
  at::Tensor forward(const at::Tensor& tokens, const at::Tensor& keys) const;
  void list(const std::string& name, peft::NamedTensors& leaves) const;
  /// Those of list() that have an effect on the result.
  void list_trainable(const std::string& name, peft::NamedTensors& leaves) const;

 private:
  at::Tensor attend(const at::Tensor& tokens, const at::Tensor& keys) const;
  void list_choice(const std::string& name, peft::NamedTensors& leaves) const;
  void list_rest(const std::string& name, peft::NamedTensors& leaves) const;

  Shape shape_;
  RowNorm norm_tokens_, norm_keys_, norm_inner_;
  Dense query_, key_, value_, out_, up_, down_;
};

}  // namespace graft::pipelines
