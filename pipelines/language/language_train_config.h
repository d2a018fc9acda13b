#pragma once

#include "pipelines/train_config.h"

namespace graft::pipelines {

enum class Switch { kOff, kOn, kAuto };

inline EnumNames<Switch> config_names(Switch) { return {{"off", Switch::kOff}, {"on", Switch::kOn}, {"auto", Switch::kAuto}}; }

/// The section `train` of a run that trains on texts: TrainConfig and what only sequences of tokens have.
struct LanguageTrainConfig : TrainConfig {
  int64_t max_length = 512;
  bool packing = true;
  Switch checkpointing = Switch::kAuto;
  Switch second_packing = Switch::kAuto;
  double lora_plus_ratio = 1;
  int64_t calibration_samples = 64;

  template <class V>
  void visit(V& v) {
    TrainConfig::visit(v);
    v("max_length", max_length, "tokens in a sequence; longer ones are cut");
    v("packing", packing, "put several samples into one row of max_length tokens, batch_size then counts rows; they do not see each other");
    v("checkpointing", checkpointing, "off, on or auto: recompute activations in the backward pass to save memory");
    v("second_packing", second_packing,
      "off, on or auto (for short micro steps on AMX, if the memory plan allows): dense bf16 weights once more, in the order of backward products");
    v("lora_plus_ratio", lora_plus_ratio, "learning rate of LoRA's B over that of A (LoRA+); 1: plain LoRA");
    v("calibration_samples", calibration_samples, "training samples that a method may look at before it starts, if it does");
  }
};

/// Throws InvalidArgument for the first value outside its range, in what is shared too.
void validate(const LanguageTrainConfig& config, const std::string& section = "train");

}  // namespace graft::pipelines
