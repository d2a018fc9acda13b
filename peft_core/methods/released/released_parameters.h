#pragma once

#include <initializer_list>

#include "peft_core/methods/method.h"

namespace graft::peft {

/// An attachment that adds nothing and trains parameters that the model already has (biases, norms): shared by the methods that
/// differ only in which ones. Values at the start are kept, so that detach() restores them exactly.
class ReleasedParameters : public Attachment {
 public:
  ReleasedParameters(std::string group, std::vector<ParameterSlot> released);

  std::vector<TrainableGroup> trainable() const override;
  AdapterState state() const override;
  void detach() override;
  /// The trained values stay in the model; they are part of its weights.
  void merge(at::ScalarType dtype) override;

 protected:
  const std::vector<ParameterSlot>& released() const { return released_; }

 private:
  std::string group_;
  std::vector<ParameterSlot> released_;
  std::vector<at::Tensor> original_;
};

/// The places of the kinds whose names `patterns` choose (as in matching_linears; empty: all).
/// Throws InvalidArgument if none is left, saying what the model has.
std::vector<ParameterSlot> matching_parameters(const Places& places, std::initializer_list<ParameterSlot::Kind> kinds,
                                               const std::vector<std::string>& patterns, const std::string& nothing_there);

}  // namespace graft::peft
