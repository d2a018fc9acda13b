#pragma once

#include <filesystem>
#include <memory>

#include "data_loaders/text/tokenizer.h"
#include "data_loaders/text/tokenizer_config.h"

namespace graft::data {

/// One reader for each kind of file; load_tokenizer() chooses. Errors as there.
std::shared_ptr<const Tokenizer> read_tokenizer_json(const std::filesystem::path& file, const TokenizerConfig& config);
std::shared_ptr<const Tokenizer> read_gguf_tokenizer(const std::filesystem::path& file);

/// tiktoken's lines of a base64 piece and its rank, cut by Llama 3's pattern. A file of 128000 pieces is Llama 3's and gets its
/// special tokens; others have none.
std::shared_ptr<const Tokenizer> read_tiktoken(const std::filesystem::path& file);

/// Without tokenizer_config.json the ids are those of the SentencePiece library: `</s>` in a text is ordinary text, and only
/// encode_parts() turns a part that is nothing but a control piece, beside others, into its id. With a config they are those of
/// transformers' slow LlamaTokenizer.
std::shared_ptr<const Tokenizer> read_sentencepiece(const std::filesystem::path& file, const TokenizerConfig& config);

}  // namespace graft::data
