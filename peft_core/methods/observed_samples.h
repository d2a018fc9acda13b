#pragma once

#include <functional>
#include <string>
#include <vector>

#include "peft_core/methods/method.h"

namespace graft::peft {

/// How a method gathers what it wants to know of one layer's inputs and outputs.
struct Gathering {
  /// Bytes that the sums of a layer take.
  std::function<int64_t(const LinearSlot& slot)> bytes;
  /// Makes the sums of a layer; what comes back sees every call of it.
  std::function<LinearSlot::Observer(const LinearSlot& slot)> begin;
  /// Makes the result and lets go of the sums.
  std::function<void(const LinearSlot& slot)> end;
};

/// Runs the samples past the slots, in groups whose sums fit into `budget` bytes together (at least one slot each): a large model takes more
/// passes instead of more memory.
/// Throws InvalidArgument, naming the method, if there are no samples.
void observe_samples(const std::vector<LinearSlot*>& slots, const AttachContext& context, bool gradients, const Gathering& gathering,
                     const std::string& method, int64_t budget = int64_t{1} << 30);

}  // namespace graft::peft
