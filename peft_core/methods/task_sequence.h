#pragma once

#include <cstdint>

#include "peft_core/base/config_node.h"

namespace graft::peft {

/// What an attachment also is whose method learns one task after another: training that starts from its adapter's file opens the next task. (The same
/// task goes on with --resume.)
class TaskSequence {
 public:
  virtual ~TaskSequence() = default;
  /// Call once the file's tensors are loaded. `asked`: the `method` section of this run, whose options hold for the new task as far as a task may have its
  /// own. Returns the section in force.
  /// Throws InvalidArgument for an option that belongs to the whole sequence.
  virtual ConfigNode begin_task(const ConfigNode& asked, uint64_t seed) = 0;
};

}  // namespace graft::peft
