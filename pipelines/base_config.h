#pragma once

#include <string>

#include "peft_core/backbones/weight_source.h"

namespace graft::pipelines {

/// The section `base`: how the frozen model is held in memory.
struct BaseConfig {
  std::string dtype = "auto";
  std::string quantize = "auto";
  std::string compute = "auto";
  bool accept_other = false;

  template <class V>
  void visit(V& v) {
    v("dtype", dtype, "of the frozen weights in memory: auto (as the file has them), bf16 or fp32");
    v("quantize", quantize, "none, nf4 (4-bit with double quantisation), keep (a GGUF file's own blocks) or auto (keep for such blocks unless dtype is given)");
    v("compute", compute, "of activations and products: auto (bf16 where the processor is quick at it, else fp32), bf16 or fp32");
    v("accept_other", accept_other, "use an adapter that was trained on another base model");
  }
};

/// `stored`: what WeightSource::stored_dtype() says, which decides where the config says "auto".
/// Throws InvalidArgument naming the key and its values.
peft::BaseStorage base_storage(const BaseConfig& config, at::ScalarType stored);

}  // namespace graft::pipelines
