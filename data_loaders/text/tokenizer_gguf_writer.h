#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "peft_core/formats/gguf.h"

namespace graft::data {

/// The tokenizer.* entries of a GGUF file for the tokenizer of a model: a Hugging Face folder, or another GGUF file, whose entries are
/// taken as they stand. Ids between the tokenizer's and `vocabulary` are filled with unused tokens, as llama.cpp wants one a row.
/// Throws   IoError or InvalidArgument as load_tokenizer does, and for a pre-tokeniser that GGUF has no name for, with those it has.
std::vector<formats::GgufEntry> gguf_tokenizer_entries(const std::filesystem::path& model, int64_t vocabulary);

}  // namespace graft::data
