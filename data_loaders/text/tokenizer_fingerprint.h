#pragma once

#include <filesystem>
#include <string>

namespace graft::data {

/// SHA-256 of all that load_tokenizer(path) reads: the tokenizer's files of a folder, a file, or the part of a GGUF file before its
/// weights. Throws IoError for a file that cannot be read.
std::string tokenizer_fingerprint(const std::filesystem::path& path);

}  // namespace graft::data
