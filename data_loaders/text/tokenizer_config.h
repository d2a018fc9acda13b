#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data_loaders/text/added_vocabulary.h"
#include "data_loaders/text/pipeline_tokenizer.h"

namespace graft::data {

/// What `tokenizer_config.json`, `special_tokens_map.json` and `chat_template.jinja` of a model folder say.
struct TokenizerConfig {
  bool present = false;                        ///< there is a tokenizer_config.json
  std::string tokenizer_class;
  std::vector<AddedToken> added;               ///< with ids
  std::vector<AddedToken> named;               ///< bos, eos, unk, sep, pad, cls, mask and additional ones, in this order; no ids
  std::optional<std::string> bos, eos, unk, pad;
  std::optional<bool> add_bos, add_eos, add_prefix_space, legacy;
  std::string chat_template;
};

/// Reads what is there; an empty result if nothing is. Throws IoError for malformed files.
TokenizerConfig read_tokenizer_config(const std::filesystem::path& folder);

/// Adds the config's tokens to `added` as transformers does: declared ones first, then named ones that neither list nor vocabulary
/// has, numbered behind the largest id. A named token is special wherever it stands.
void merge_added_tokens(const TokenizerConfig& config, const TokenVocabulary& vocabulary, std::vector<AddedToken>& added);

/// Fills the ids of bos, eos, unk and pad from their names.
void resolve_specials(const TokenizerConfig& config, const std::vector<AddedToken>& added, const TokenVocabulary& vocabulary,
                      Tokenizer::Specials& specials);

}  // namespace graft::data
