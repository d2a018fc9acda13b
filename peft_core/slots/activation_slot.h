#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <string>

#include "peft_core/slots/adapter.h"

namespace graft::peft {

/// What an activation slot tells its adapter about a call.
struct ActivationCall {
  const ForwardContext& context;
  std::span<const int32_t> lengths;  ///< tokens of each sequence, end to end in the rows
  uint64_t slot_seed;                ///< differs from slot to slot
  const at::Tensor& input;           ///< what the block was given: the normed stream, (N, C)
  /// What the adapter carries along each sequence from call to call, undefined where a sequence begins; it puts a new tensor in its place.
  /// Empty: every sequence is whole.
  std::span<at::Tensor* const> states;
};

/// Changes what a block of the model puts out: a bottleneck layer after it, a state-space layer along the sequence.
class ActivationAdapter {
 public:
  virtual ~ActivationAdapter() = default;
  /// (N, C) -> (N, C).
  virtual at::Tensor forward(const at::Tensor& h, const ActivationCall& call) const = 0;
  /// Trainable leaves and further saved tensors under their published names.
  virtual NamedTensors parameters() const = 0;
  virtual NamedTensors fixed() const { return {}; }
};

/// A place after a block, before its output joins the residual stream.
class ActivationSlot {
 public:
  ActivationSlot() = default;
  ActivationSlot(std::string name, int64_t width);

  const std::string& name() const { return name_; }  ///< of the block: "model.layers.0.mlp"
  int64_t width() const { return width_; }           ///< C
  /// h: what the block puts out for `input`; see ActivationCall for the rest.
  at::Tensor forward(const at::Tensor& h, const at::Tensor& input, std::span<const int32_t> lengths, const ForwardContext& context,
                     std::span<at::Tensor* const> states = {}) const;

  /// Throws InvalidArgument if there is an adapter already.
  void attach(std::shared_ptr<const ActivationAdapter> adapter);
  void detach() { adapter_ = nullptr; }
  const std::shared_ptr<const ActivationAdapter>& adapter() const { return adapter_; }

 private:
  std::string name_;
  int64_t width_ = 0;
  uint64_t seed_ = 0;
  std::shared_ptr<const ActivationAdapter> adapter_;
};

}  // namespace graft::peft
