#pragma once

#include <vector>

#include "peft_core/slots/targets.h"

namespace graft::peft {

/// Folds all adapters of a model into dense bases and can take that back exactly: the bases are kept, not computed back, so every bit is as it
/// was (PEFT's unmerge subtracts the update again, which leaves rounding behind).
/// Price    the merged weights in memory beside the bases, until undo() or the end of this object.
class ReversibleMerge {
 public:
  /// Throws InvalidArgument for merged weights that are not finite in `dtype`; then nothing is merged.
  ReversibleMerge(Places& places, at::ScalarType dtype);
  ReversibleMerge(const ReversibleMerge&) = delete;
  ReversibleMerge& operator=(const ReversibleMerge&) = delete;

  /// Bases and adapters as they were. Once is enough.
  void undo();
  bool merged() const { return !kept_.empty(); }

 private:
  struct Kept {
    LinearSlot* slot;
    std::shared_ptr<const FrozenLinear> base;
    std::shared_ptr<const Adapter> adapter;
    at::Tensor bias;
  };
  std::vector<Kept> kept_;
};

}  // namespace graft::peft
