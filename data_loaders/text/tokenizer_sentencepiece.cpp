#include "data_loaders/text/tokenizer_readers.h"
#include "kernels/base/error.h"

namespace graft::data {

std::shared_ptr<const Tokenizer> read_sentencepiece(const std::filesystem::path& file, const TokenizerConfig&) {
  throw Unavailable({.where = file.string(), .what = "tokenizer.model is not read yet"});
}

}  // namespace graft::data
