#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/gguf_blocks/gguf_blocks.h"
#include "peft_core/backbones/decoder_config.h"
#include "peft_core/formats/gguf.h"

namespace graft::peft {

/// general.* and the architecture's keys of a model file, without the tokenizer's.
/// Throws InvalidArgument for rope scaling that llama.cpp has no keys for in this architecture.
std::vector<formats::GgufEntry> gguf_model_entries(const DecoderConfig& config, kernels::GgmlType type, const std::string& name);

/// The divisors of rope_freqs.weight, (head_size / 2); empty where rotation is plain or scaled by one factor.
std::vector<float> gguf_frequency_divisors(const DecoderConfig& config);

formats::GgufEntry gguf_text(std::string key, std::string value);
formats::GgufEntry gguf_count(std::string key, int64_t value);
formats::GgufEntry gguf_number(std::string key, double value);

}  // namespace graft::peft
