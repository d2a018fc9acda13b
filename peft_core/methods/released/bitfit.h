#pragma once

#include <string>
#include <vector>

#include "peft_core/methods/method.h"

namespace graft::peft {

struct BitfitConfig {
  std::string name = "bitfit";
  std::vector<std::string> targets;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("targets", targets, "layers whose biases are trained: name endings or expressions; empty: all");
  }
};

/// Trains the biases that the model has and nothing else.
/// Throws   InvalidArgument for a model without biases (Llama, Mistral, SmolLM2, Qwen3 have none; Qwen2 has them on q, k, v).
/// Source   Ben Zaken et al. 2021, arXiv:2106.10199; saved as PEFT saves `bias: all`.
MethodSpec bitfit_method();

}  // namespace graft::peft
