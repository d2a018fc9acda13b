#include <algorithm>
#include <cmath>

#include "data_loaders/text/bpe_model.h"
#include "data_loaders/text/split_patterns.h"
#include "data_loaders/text/tokenizer_readers.h"
#include "kernels/base/error.h"
#include "peft_core/formats/gguf.h"
#include "peft_core/formats/shown_name.h"

namespace graft::data {
namespace {

using formats::GgufFile;

// The values of tokenizer.ggml.token_type.
enum TokenType : int64_t { kUnknown = 2, kControl = 3, kUserDefined = 4, kByte = 6 };

const std::string kPrefix = "tokenizer.ggml.";

bool flag(const GgufFile& file, const std::string& key, bool fallback) {
  const auto it = file.metadata().find(kPrefix + key);
  if (it == file.metadata().end()) return fallback;
  const bool* value = std::get_if<bool>(&it->second);
  if (value == nullptr) throw IoError({.where = file.file()->path().string(), .what = kPrefix + key + " is no bool"});
  return *value;
}

struct GgufVocabulary {
  std::string where;
  std::shared_ptr<const TokenVocabulary> vocabulary;
  std::vector<int64_t> types;  // one a token
};

GgufVocabulary read_vocabulary(const GgufFile& file) {
  GgufVocabulary out;
  out.where = file.file()->path().string();
  const auto& texts = file.texts(kPrefix + "tokens");
  std::vector<TokenEntry> entries;
  entries.reserve(texts.size());
  for (const auto& text : texts) entries.push_back({text, static_cast<TokenId>(entries.size())});
  out.vocabulary = std::make_shared<TokenVocabulary>(std::move(entries), out.where + " " + kPrefix + "tokens");
  out.types = file.has(kPrefix + "token_type") ? file.integers(kPrefix + "token_type") : std::vector<int64_t>(texts.size(), 1);
  if (out.types.size() != texts.size())
    throw IoError({.where = out.where, .what = kPrefix + "token_type has another length than the tokens"});
  return out;
}

std::vector<AddedToken> added_tokens(const GgufVocabulary& source) {
  std::vector<AddedToken> out;
  for (const auto& entry : source.vocabulary->entries()) {
    const int64_t type = source.types[static_cast<size_t>(entry.id)];
    const bool special = type == kControl || type == kUnknown;
    if ((special || type == kUserDefined) && !entry.text.empty())
      out.push_back({.content = entry.text, .id = entry.id, .special = special});
  }
  return out;
}

Tokenizer::Specials read_specials(const GgufFile& file, const GgufVocabulary& source, bool add_bos) {
  Tokenizer::Specials out;
  const auto id = [&](const char* key, std::optional<TokenId>& slot) {
    if (!file.has(kPrefix + key)) return;
    const int64_t value = file.integer(kPrefix + key);
    if (value < 0 || value >= source.vocabulary->size())
      throw IoError({.where = source.where, .what = kPrefix + key + " is no token", .expected = "0.." + std::to_string(source.vocabulary->size() - 1), .got = std::to_string(value)});
    slot = static_cast<TokenId>(value);
  };
  id("bos_token_id", out.bos);
  id("eos_token_id", out.eos);
  id("unknown_token_id", out.unk);
  id("padding_token_id", out.pad);
  out.add_bos = flag(file, "add_bos_token", add_bos);
  out.add_eos = flag(file, "add_eos_token", false);
  if (file.has("tokenizer.chat_template")) out.chat_template = file.text("tokenizer.chat_template");
  return out;
}

std::vector<BpeMerge> read_merges(const GgufFile& file, const GgufVocabulary& source) {
  std::vector<BpeMerge> merges;
  for (const auto& line : file.texts(kPrefix + "merges")) {
    const size_t space = line.find(' ', 1);
    if (space == std::string::npos) throw IoError({.where = source.where, .what = kPrefix + "merges holds a line that is no pair", .got = formats::shown(line)});
    const std::string_view left = std::string_view(line).substr(0, space), right = std::string_view(line).substr(space + 1);
    const auto l = source.vocabulary->find(left), r = source.vocabulary->find(right);
    const auto joined = source.vocabulary->find(std::string(left) + std::string(right));
    if (!l || !r || !joined) throw IoError({.where = source.where, .what = "merge of tokens that are not in the vocabulary", .got = formats::shown(line)});
    merges.push_back({*l, *r, *joined, static_cast<uint32_t>(merges.size())});
  }
  return merges;
}

std::shared_ptr<const Tokenizer> read_byte_level(const GgufFile& file) {
  const auto source = read_vocabulary(file);
  const std::string name = file.has(kPrefix + "pre") ? file.text(kPrefix + "pre") : "default";
  const auto recipe = split_recipe(name, source.where + " " + kPrefix + "pre");
  PipelineParts parts;
  parts.where = source.where;
  parts.added = added_tokens(source);
  if (recipe.compose) parts.normalizer = unicode_form_normalizer(NormalForm::kNfc);
  parts.pre_tokenizer = recipe.pre_tokenizer;
  parts.specials = read_specials(file, source, recipe.add_bos);
  parts.model = std::make_shared<BpeModel>(
      source.vocabulary, read_merges(file, source),
      BpeOptions{.unk = parts.specials.unk, .fuse_unk = true, .ignore_merges = recipe.ignore_merges});
  parts.decoder = byte_level_decoder();
  return std::make_shared<PipelineTokenizer>(std::move(parts));
}

// Higher scores merge first; equal scores share a rank, so that the leftmost of them goes first.
std::vector<int64_t> ranks_of_scores(const GgufFile& file, const GgufVocabulary& source) {
  const auto scores = file.numbers(kPrefix + "scores");
  if (scores.size() != source.types.size()) throw IoError({.where = source.where, .what = kPrefix + "scores has another length than the tokens"});
  std::vector<double> order = scores;
  for (const double score : scores)
    if (std::isnan(score)) throw IoError({.where = source.where, .what = kPrefix + "scores holds a NaN"});
  std::sort(order.begin(), order.end(), std::greater<>());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  std::vector<int64_t> ranks(scores.size(), -1);
  for (size_t i = 0; i < scores.size(); ++i) {
    const int64_t type = source.types[i];
    if (type == kControl || type == kUnknown || type == kByte) continue;
    ranks[i] = std::lower_bound(order.begin(), order.end(), scores[i], std::greater<>()) - order.begin();
  }
  return ranks;
}

std::shared_ptr<const Tokenizer> read_sentencepiece_bpe(const GgufFile& file) {
  const auto source = read_vocabulary(file);
  const std::string space = "\u2581";
  const bool prefix = flag(file, "add_space_prefix", true);
  PipelineParts parts;
  parts.where = source.where;
  parts.added = added_tokens(source);
  parts.specials = read_specials(file, source, true);
  parts.normalizer = sequence_of(std::vector<Normalizer>{prefix ? prepend_normalizer(space) : Normalizer(), replace_text_normalizer(" ", space)});
  const auto merges = merges_from_pieces(*source.vocabulary, ranks_of_scores(file, source));
  parts.model = std::make_shared<BpeModel>(source.vocabulary, merges,
                                           BpeOptions{.unk = parts.specials.unk, .fuse_unk = true, .byte_fallback = true});
  std::vector<TokenDecoder> decoders = {replace_text_decoder(space, " "), byte_fallback_decoder(), fuse_decoder()};
  if (prefix) decoders.push_back(strip_decoder(" ", 1, 0));
  parts.decoder = sequence_of(std::move(decoders));
  return std::make_shared<PipelineTokenizer>(std::move(parts));
}

}  // namespace

std::shared_ptr<const Tokenizer> read_gguf_tokenizer(const std::filesystem::path& path) {
  const auto file = GgufFile::open(path);
  const std::string& kind = file.text(kPrefix + "model");
  if (kind == "gpt2") return read_byte_level(file);
  if (kind == "llama") return read_sentencepiece_bpe(file);
  throw InvalidArgument({.where = path.string() + " " + kPrefix + "model", .what = "tokenizer is not supported", .expected = "gpt2 (byte-level BPE) or llama (SentencePiece BPE)", .got = formats::shown(kind)});
}

}  // namespace graft::data
