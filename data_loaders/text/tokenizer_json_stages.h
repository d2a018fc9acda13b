#pragma once

#include <string>

#include "data_loaders/text/json_fields.h"
#include "data_loaders/text/normalizer.h"
#include "data_loaders/text/pre_tokenizer.h"
#include "data_loaders/text/token_decoder.h"
#include "data_loaders/text/token_vocabulary.h"

namespace graft::data {

/// The stages of a `tokenizer.json` other than its model. `where` names the file.
/// Throw IoError for malformed entries, InvalidArgument for a type that is not supported (the message lists those that are).
Normalizer read_normalizer(const Json& json, const std::string& where);
PreTokenizerPtr read_pre_tokenizer(const Json& json, const std::string& where);
TokenDecoder read_decoder(const Json& json, const std::string& where);

/// Throws IoError if `value` is no id.
TokenId read_token_id(const Json& value, const std::string& where);
/// An object of texts and their ids.
std::vector<TokenEntry> read_vocabulary(const Json& vocab, const std::string& where);

/// Which special tokens the post-processor puts around a text.
struct AddedAround {
  std::string first, last;  ///< empty: none
};
AddedAround read_post_processor(const Json& json, const std::string& where);

}  // namespace graft::data
