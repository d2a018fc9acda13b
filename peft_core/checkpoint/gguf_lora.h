#pragma once

#include <filesystem>
#include <string>

#include "peft_core/backbones/causal_lm.h"
#include "peft_core/checkpoint/adapter_files.h"
#include "peft_core/formats/gguf.h"

namespace graft::peft {

/// Writes a LoRA adapter that is at work on `model` as a GGUF adapter for llama.cpp, which scales each update by alpha over that tensor's
/// rank. The file holds one alpha: what differs from it (alpha patterns, rsLoRA) is multiplied into B.
/// Throws   InvalidArgument where the adapter changes what such a file cannot: biases, norms, whole matrices, a tied head; IoError.
void write_gguf_lora(const std::filesystem::path& file, const CausalLm& model, const AdapterFiles& adapter, kernels::GgmlType type,
                     const std::string& name);

}  // namespace graft::peft
