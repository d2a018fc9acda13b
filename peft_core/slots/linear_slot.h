#pragma once

#include <functional>
#include <memory>
#include <string>

#include "peft_core/slots/adapter.h"

namespace graft::peft {

/// A place in a model where a linear layer stands and where a method may change it. The model calls the slot; replacing modules
/// at run time, as Python does, would leave the model calling the old one.
class LinearSlot {
 public:
  LinearSlot() = default;
  LinearSlot(std::string name, std::shared_ptr<const FrozenLinear> base, at::Tensor bias);

  const std::string& name() const { return name_; }  ///< as published: "model.layers.0.self_attn.q_proj"
  const std::shared_ptr<const FrozenLinear>& base() const { return base_; }
  const at::Tensor& bias() const { return bias_; }
  at::Tensor& bias() { return bias_; }
  const std::shared_ptr<const Adapter>& adapter() const { return adapter_; }

  /// x (N, in) -> (N, out).
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) const;

  void attach(std::shared_ptr<const Adapter> adapter);
  /// Throws InvalidArgument if there is an adapter already.
  void expect_free() const;
  void detach() { adapter_ = nullptr; }
  /// Makes the merged weight the new dense base, in `dtype`, and drops the adapter.
  void merge(at::ScalarType dtype);
  /// Called with input (N, in) and output (N, out) of every forward pass, until it is taken away with {}: for methods that look at the data
  /// before they start. A hook on the output sees its gradient.
  using Observer = std::function<void(const at::Tensor& x, const at::Tensor& y)>;
  void observe(Observer observer) { observer_ = std::move(observer); }
  void replace_base(std::shared_ptr<const FrozenLinear> base) { base_ = std::move(base); }

 private:
  std::string name_;
  std::shared_ptr<const FrozenLinear> base_;
  at::Tensor bias_;
  std::shared_ptr<const Adapter> adapter_;
  Observer observer_;
  uint64_t seed_ = 0;
};

}  // namespace graft::peft
