#include "data_loaders/text/tokenizer.h"

#include "data_loaders/text/tokenizer_readers.h"
#include "kernels/base/error.h"
#include "peft_core/base/files.h"

namespace graft::data {
namespace {

namespace fs = std::filesystem;

// tiktoken's files are lines of base64 and a number; SentencePiece's begin with a protobuf tag.
bool looks_like_tiktoken(const fs::path& file) {
  const auto mapped = MappedFile::open(file);
  const std::string_view text = mapped->text().substr(0, 512);
  const size_t space = text.find(' '), line = text.find('\n');
  if (space == 0 || space == std::string_view::npos || line == std::string_view::npos || line < space) return false;
  const auto printable = [](char c) { return c == '\n' || (c >= ' ' && c <= '~'); };
  for (const char c : text.substr(0, line))
    if (!printable(c)) return false;
  return true;
}

std::shared_ptr<const Tokenizer> load_file(const fs::path& file, const TokenizerConfig& config) {
  if (file.extension() == ".gguf") return read_gguf_tokenizer(file);
  if (file.extension() == ".json") return read_tokenizer_json(file, config);
  if (file.extension() == ".model") return looks_like_tiktoken(file) ? read_tiktoken(file) : read_sentencepiece(file, config);
  if (file.extension() == ".gz" || file.extension() == ".txt") return read_clip_merges(file);
  throw InvalidArgument({.where = file.string(), .what = "is no tokenizer file", .expected = "a folder, *.json, *.model, *.gguf or CLIP's *.txt.gz"});
}

std::shared_ptr<const Tokenizer> load_folder(const fs::path& folder) {
  const auto has = [&](const char* name) {
    std::error_code ignored;
    return fs::exists(folder / name, ignored);
  };
  const auto config = with_clip_names(read_tokenizer_config(folder));
  for (const char* name : {"tokenizer.json", "tokenizer.model"})
    if (has(name)) return load_file(folder / name, config);
  if (has("vocab.json") || has("merges.txt")) return read_clip_folder(folder, config);
  if (const char* name = "bpe_simple_vocab_16e6.txt.gz"; has(name)) return read_clip_merges(folder / name);
  throw IoError({.where = folder.string(), .what = "holds no tokenizer", .expected = "tokenizer.json or tokenizer.model, or CLIP's vocab.json and merges.txt"});
}

}  // namespace

std::shared_ptr<const Tokenizer> load_tokenizer(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) throw IoError({.where = path.string(), .what = "does not exist"});
  if (fs::is_directory(path, ignored)) return load_folder(path);
  return load_file(path, {});  // what lies beside it may belong to another model
}

}  // namespace graft::data
