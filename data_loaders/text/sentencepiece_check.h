#pragma once

#include <string>
#include <string_view>

namespace graft::data {

/// The SentencePiece library trusts its files: a damaged character map makes it read outside its memory. This reads the
/// protobuf by itself and refuses what the library would not survive. Throws IoError naming `where`.
void check_sentencepiece_model(std::string_view model, const std::string& where);

}  // namespace graft::data
