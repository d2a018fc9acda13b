#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "peft_core/methods/method.h"

namespace graft::peft {

/// After which blocks a method stands: options that all methods of that kind share.
struct BlockChoice {
  std::vector<std::string> after = {"mlp"};

  template <class Visitor>
  void visit(Visitor& v) {
    v("after", after, "blocks of every layer that are changed: attention, mlp, or both");
  }
};

/// One adapter after each chosen block. A method of this kind brings its ActivationAdapter, a function that makes one for a block, and the
/// keys of its adapter_config.json.
class ActivationAdapters : public Attachment {
 public:
  using Make = std::function<std::shared_ptr<ActivationAdapter>(const ActivationSlot& slot)>;

  /// Makes all adapters before it attaches the first, so that a refusal leaves the model as it was.
  /// Throws InvalidArgument for an unknown kind of block, for a model without such blocks, and for a block that has an adapter already.
  ActivationAdapters(Places& places, const BlockChoice& choice, const Make& make);

  /// One group for each first part of a parameter's name ("adapter_up" of "adapter_up.weight"), in the order of first appearance.
  std::vector<TrainableGroup> trainable() const override;
  /// Trainable and fixed tensors, under "<block>.<tensor>".
  AdapterState state() const override;
  void detach() override;
  /// Throws InvalidArgument always: what stands after a block is no change of its weights.
  void merge(at::ScalarType dtype) override;

 protected:
  /// Whether weight decay makes sense for this kind of parameter.
  virtual bool decays(const std::string& kind) const = 0;

 private:
  std::vector<ActivationSlot*> slots_;
  std::vector<std::shared_ptr<ActivationAdapter>> adapters_;
};

}  // namespace graft::peft
