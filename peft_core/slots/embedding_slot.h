#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "peft_core/slots/frozen_linear.h"

namespace graft::peft {

/// Changes the vectors that tokens have when they enter the model.
class EmbeddingAdapter {
 public:
  virtual ~EmbeddingAdapter() = default;
  /// ids (N) int64 -> (N, C) in `dtype`.
  virtual at::Tensor look_up(const at::Tensor& ids, const FrozenLinear& base, at::ScalarType dtype) const = 0;
  /// The table that gives the same vectors without the adapter, fp32 (V, C).
  virtual at::Tensor merged_weight(const FrozenLinear& base) const = 0;
};

/// The place where token ids become vectors. A head that is tied to it is a LinearSlot of its own on the same weight.
class EmbeddingSlot {
 public:
  EmbeddingSlot() = default;
  EmbeddingSlot(std::string name, std::shared_ptr<const FrozenLinear> base, bool tied_head);

  const std::string& name() const { return name_; }  ///< as published: "model.embed_tokens"
  const std::shared_ptr<const FrozenLinear>& base() const { return base_; }  ///< (V, C)
  bool tied_head() const { return tied_head_; }
  const std::shared_ptr<const EmbeddingAdapter>& adapter() const { return adapter_; }

  /// ids (N) int64, all inside the vocabulary -> (N, C) in `dtype`.
  at::Tensor forward(const at::Tensor& ids, at::ScalarType dtype) const;

  /// Throws InvalidArgument if there is an adapter already.
  void attach(std::shared_ptr<const EmbeddingAdapter> adapter);
  void detach() { adapter_ = nullptr; }
  /// Makes the merged table the new dense base, in `dtype`, and drops the adapter.
  void merge(at::ScalarType dtype);

 private:
  std::string name_;
  std::shared_ptr<const FrozenLinear> base_;
  bool tied_head_ = false;
  std::shared_ptr<const EmbeddingAdapter> adapter_;
};

}  // namespace graft::peft
