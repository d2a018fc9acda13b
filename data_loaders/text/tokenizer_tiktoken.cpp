#include <charconv>

#include "data_loaders/text/bpe_model.h"
#include "data_loaders/text/split_patterns.h"
#include "data_loaders/text/tokenizer_readers.h"
#include "data_loaders/text/unicode_text.h"
#include "kernels/base/error.h"
#include "peft_core/base/files.h"
#include "peft_core/formats/shown_name.h"

namespace graft::data {
namespace {

constexpr int64_t kLlama3Pieces = 128000;
constexpr int kLlama3Specials = 256;

std::optional<std::string> from_base64(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int held = 0;
  while (text.ends_with('=')) text.remove_suffix(1);
  for (const char c : text) {
    static constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const size_t value = kAlphabet.find(c);
    if (value == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(value);
    held += 6;
    if (held >= 8) out += static_cast<char>(bits >> (held -= 8) & 0xFF);
  }
  return out;
}

std::vector<TokenEntry> read_entries(std::string_view text, const std::string& where) {
  std::vector<TokenEntry> entries;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    const auto piece = from_base64(line.substr(0, space));
    TokenId rank = -1;
    if (space != std::string_view::npos) std::from_chars(line.data() + space + 1, line.data() + line.size(), rank);
    if (!piece || piece->empty() || rank < 0)
      throw IoError({.where = where, .what = "line is no base64 piece with its rank", .got = formats::shown(line)});
    std::string spelled;
    for (const char c : *piece) spelled += byte_characters()[static_cast<unsigned char>(c)];
    entries.push_back({std::move(spelled), rank});
  }
  return entries;
}

// Meta's own numbering behind the 128000 pieces.
std::vector<AddedToken> llama3_specials() {
  std::vector<std::string> names = {"<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>",
                                    "<|reserved_special_token_1|>", "<|finetune_right_pad_id|>", "<|step_id|>",
                                    "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"};
  for (int i = 2; static_cast<int>(names.size()) < kLlama3Specials; ++i)
    names.push_back("<|reserved_special_token_" + std::to_string(i) + "|>");
  std::vector<AddedToken> out;
  for (const auto& name : names)
    out.push_back({.content = name, .id = static_cast<TokenId>(kLlama3Pieces + static_cast<int64_t>(out.size())), .special = true});
  return out;
}

}  // namespace

std::shared_ptr<const Tokenizer> read_tiktoken(const std::filesystem::path& file) {
  const auto mapped = MappedFile::open(file);
  PipelineParts parts;
  parts.where = file.string();
  auto vocabulary = std::make_shared<TokenVocabulary>(read_entries(mapped->text(), parts.where), parts.where);
  std::vector<int64_t> ranks(static_cast<size_t>(vocabulary->size()), -1);
  for (const auto& entry : vocabulary->entries()) ranks[static_cast<size_t>(entry.id)] = entry.id;
  parts.pre_tokenizer = split_recipe("llama-bpe", parts.where).pre_tokenizer;
  parts.model = std::make_shared<BpeModel>(vocabulary, merges_from_pieces(*vocabulary, ranks), BpeOptions{.ignore_merges = true});
  parts.decoder = byte_level_decoder();
  if (vocabulary->size() == kLlama3Pieces) {
    parts.added = llama3_specials();
    parts.specials.bos = parts.added[0].id;
    parts.specials.eos = parts.added[1].id;
    parts.specials.add_bos = true;
  }
  return std::make_shared<PipelineTokenizer>(std::move(parts));
}

}  // namespace graft::data
