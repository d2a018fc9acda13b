#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "peft_core/methods/layer_choice.h"
#include "peft_core/methods/method.h"

namespace graft::peft {

/// One adapter on each chosen linear layer: what most methods are. A method of this kind brings its Adapter, a function that makes one for a
/// layer, and the keys of its adapter_config.json.
class LayerAdapters : public Attachment {
 public:
  using Make = std::function<std::shared_ptr<Adapter>(const LinearSlot& slot)>;

  /// Makes all adapters before it attaches the first, so that a refusal leaves the model as it was.
  /// Throws InvalidArgument as chosen_slots() and `make` do, and for a layer that has an adapter already.
  LayerAdapters(Places& places, LayerChoice choice, const Make& make);

  /// One group for each last part of a parameter's name ("lora_A" of "lora_A.weight"), in the order of first appearance.
  std::vector<TrainableGroup> trainable() const override;
  /// Trainable and fixed tensors, under "<layer>.<tensor>".
  AdapterState state() const override;
  void detach() override;
  void merge(at::ScalarType dtype) override;
  void move_to(at::Device device) override;

 protected:
  const std::vector<LinearSlot*>& slots() const { return slots_; }
  const std::vector<std::shared_ptr<Adapter>>& adapters() const { return adapters_; }
  nlohmann::json published_targets() const;

 private:
  LayerChoice choice_;
  std::vector<LinearSlot*> slots_;
  std::vector<std::shared_ptr<Adapter>> adapters_;
};

}  // namespace graft::peft
