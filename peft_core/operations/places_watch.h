#pragma once

#include <optional>
#include <string>
#include <vector>

#include "peft_core/slots/targets.h"

namespace graft::peft {

/// Remembers a model's places, to tell what a method changed besides putting adapters on linear layers.
class PlacesWatch {
 public:
  explicit PlacesWatch(const Places& places);

  /// What was changed that is no adapter on a linear layer, for a message: "the parameter model.norm.weight"; none if there is nothing.
  /// A base weight counts where `bases_too`.
  std::optional<std::string> other_change(bool bases_too) const;
  /// The base of linear layer `i` (the head is the last) as it was.
  const std::shared_ptr<const FrozenLinear>& base(size_t i) const { return bases_[i]; }

 private:
  const Places& places_;
  std::vector<std::shared_ptr<const FrozenLinear>> bases_;
  std::vector<at::Tensor> parameters_;
};

/// All linear layers, the head last.
std::vector<LinearSlot*> all_linears(const Places& places);

}  // namespace graft::peft
