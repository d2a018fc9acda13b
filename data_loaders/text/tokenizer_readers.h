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

/// CLIP's lower-case byte-level BPE with "</w>" at the end of words. Text is treated as transformers' CLIPTokenizerFast treats it: NFC,
/// white space collapsed, lower case; OpenAI's own program first mends text with ftfy and resolves HTML entities, which is left out here.
/// A folder's vocab.json and merges.txt, for folders without tokenizer.json:
std::shared_ptr<const Tokenizer> read_clip_folder(const std::filesystem::path& folder, const TokenizerConfig& config);
/// OpenAI's list of merges (bpe_simple_vocab_16e6.txt.gz, or unpacked), from which the ids follow:
std::shared_ptr<const Tokenizer> read_clip_merges(const std::filesystem::path& file);
/// Names the special tokens that a config of the class CLIPTokenizer leaves to the class; other configs stay as they are.
TokenizerConfig with_clip_names(TokenizerConfig config);

/// Without tokenizer_config.json the ids are those of the SentencePiece library: `</s>` in a text is ordinary text, and only
/// encode_parts() turns a part that is nothing but a control piece, beside others, into its id. With a config they are those of
/// transformers' slow LlamaTokenizer.
std::shared_ptr<const Tokenizer> read_sentencepiece(const std::filesystem::path& file, const TokenizerConfig& config);

}  // namespace graft::data
