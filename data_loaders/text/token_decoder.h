#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data_loaders/text/unicode_regex.h"

namespace graft::data {

/// One step from token spellings back to text; the results of the last step are joined.
using TokenDecoder = std::function<std::vector<std::string>(std::vector<std::string>)>;

TokenDecoder byte_level_decoder();
/// Runs of `<0xNN>` tokens become the text that the bytes spell, or one U+FFFD a byte if they spell none.
TokenDecoder byte_fallback_decoder();
TokenDecoder fuse_decoder();
TokenDecoder replace_decoder(UnicodeRegex pattern, std::string content);
TokenDecoder replace_text_decoder(std::string from, std::string to);
/// Takes up to `start` copies of `content` from the front of each token and up to `stop` from its end.
TokenDecoder strip_decoder(std::string content, size_t start, size_t stop);
TokenDecoder metaspace_decoder(std::string replacement, bool drop_in_first);
TokenDecoder word_suffix_decoder(std::string suffix);  ///< the end-of-word mark becomes a space (BPEDecoder)
/// In each text of the last step the end-of-word mark becomes a space, and white space around the text goes, as in transformers' CLIP class.
TokenDecoder word_end_decoder(std::string suffix);
TokenDecoder sequence_of(std::vector<TokenDecoder> steps);

}  // namespace graft::data
