#pragma once

#include <string>

#include "peft_core/backbones/weight_source.h"

namespace graft::pipelines {

/// The section `base`: how the frozen model is held in memory.
struct BaseConfig {
  std::string dtype = "bf16";
  std::string quantize = "none";
  std::string compute = "auto";
  bool accept_other = false;

  template <class V>
  void visit(V& v) {
    v("dtype", dtype, "of the frozen weights in memory: bf16 or fp32");
    v("quantize", quantize, "none, nf4 (4-bit with double quantisation) or keep (a GGUF file's own blocks)");
    v("compute", compute, "of activations and products: auto (bf16 where the processor is quick at it, else fp32), bf16 or fp32");
    v("accept_other", accept_other, "use an adapter that was trained on another base model");
  }
};

/// Throws InvalidArgument naming the key and its values.
peft::BaseStorage base_storage(const BaseConfig& config);

}  // namespace graft::pipelines
