#pragma once

#include <string>
#include <vector>

#include "peft_core/methods/method.h"

namespace graft::peft {

struct NormTuningConfig {
  std::string name = "norm_tuning";
  std::vector<std::string> targets;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("targets", targets, "norms that are trained: name endings or expressions; empty: all");
  }
};

/// Trains the weights of the normalisation layers and nothing else.
/// Source   Zhao et al. 2023, arXiv:2312.11420; file layout of PEFT's LN_TUNING.
MethodSpec norm_tuning_method();

}  // namespace graft::peft
