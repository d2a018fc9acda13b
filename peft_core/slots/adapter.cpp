#include "peft_core/slots/adapter.h"

#include "peft_core/memory/move_in_place.h"

namespace graft::peft {

void Adapter::move_to(at::Device device) const {
  for (const auto& [name, leaf] : parameters()) move_in_place(leaf, device);
  for (const auto& [name, tensor] : fixed()) move_in_place(tensor, device);
}

}  // namespace graft::peft
