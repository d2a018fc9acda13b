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
  throw InvalidArgument({.where = file.string(), .what = "is no tokenizer file", .expected = "a folder, *.json, *.model or *.gguf"});
}

}  // namespace

std::shared_ptr<const Tokenizer> load_tokenizer(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) throw IoError({.where = path.string(), .what = "does not exist"});
  if (!fs::is_directory(path, ignored)) return load_file(path, {});  // what lies beside it may belong to another model
  for (const char* name : {"tokenizer.json", "tokenizer.model"})
    if (fs::exists(path / name, ignored)) return load_file(path / name, read_tokenizer_config(path));
  throw IoError({.where = path.string(), .what = "holds no tokenizer", .expected = "tokenizer.json or tokenizer.model"});
}

}  // namespace graft::data
