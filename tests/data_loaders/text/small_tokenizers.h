#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data_loaders/text/tokenizer.h"

namespace graft::testing {

/// tokenizer.json of a byte-level BPE: all 256 bytes as ids 0..255, then one token for each merge ("h e"), then the special tokens.
std::string byte_level_json(const std::vector<std::string>& merges, const std::vector<std::string>& specials,
                            const std::string& extra_added = "");

/// tokenizer.json in the way of Llama 2: <unk> <s> </s>, 256 byte tokens, single letters, one token for each merge.
std::string llama_json(const std::vector<std::string>& merges);

/// A SentencePiece BPE model with byte fallback and no character map: <unk> <s> </s>, 256 bytes, then pieces, the best first.
std::string sentencepiece_bytes(const std::vector<std::string>& pieces);

/// Written to a folder of its own (with a tokenizer_config.json if `config` is not empty) and loaded.
std::shared_ptr<const data::Tokenizer> load_json(const std::string& json, const std::string& config = "");

}  // namespace graft::testing
