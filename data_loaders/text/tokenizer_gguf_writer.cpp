#include "data_loaders/text/tokenizer_gguf_writer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <map>

#include "data_loaders/text/json_fields.h"
#include "data_loaders/text/sentencepiece_check.h"
#include "data_loaders/text/split_patterns.h"
#include "data_loaders/text/token_vocabulary.h"
#include "data_loaders/text/tokenizer_config.h"
#include "peft_core/base/json_files.h"
#include "peft_core/base/text_distance.h"

namespace graft::data {
namespace {

using formats::GgufEntry;
using formats::GgufScalar;

// The values of tokenizer.ggml.token_type.
enum TokenType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

const std::string kPrefix = "tokenizer.ggml.";

struct Tokens {
  std::vector<std::string> texts;
  std::vector<int64_t> types;
  std::vector<double> scores;       ///< SentencePiece only
  std::vector<std::string> merges;  ///< byte-level only
  std::string kind, pre;
  bool prefix_space = false;

  void put(int64_t id, const std::string& text, int64_t type, double score = 0) {
    while (static_cast<int64_t>(texts.size()) <= id) {
      texts.push_back("[PAD" + std::to_string(texts.size()) + "]");
      types.push_back(kUnused);
      scores.push_back(0);
    }
    const auto i = static_cast<size_t>(id);
    texts[i] = text, types[i] = type, scores[i] = score;
  }
};

bool is_byte_token(const std::string& text) { return text.size() == 6 && text.starts_with("<0x") && text.ends_with(">"); }

void put_added(Tokens& tokens, const std::vector<AddedToken>& added, const std::optional<std::string>& unknown) {
  for (const auto& token : added) {
    const bool is_unknown = tokens.kind == "llama" && unknown && token.content == *unknown;
    tokens.put(token.id, token.content, is_unknown ? kUnknown : token.special ? kControl : kUserDefined);
  }
}

/// Expressions by which a chain of pre-tokenisers isolates, in order; `bytes` if bytes become characters at its end.
struct Splits {
  std::vector<std::string> patterns;
  bool bytes = false;
};

void read_splits(const Json& step, Splits& splits, const std::string& where) {
  const auto type = step.value("type", "");
  if (type == "Sequence") {
    for (const auto& inner : step.at("pretokenizers")) read_splits(inner, splits, where);
  } else if (type == "ByteLevel") {
    if (step.value("use_regex", true)) splits.patterns.emplace_back(kGpt2Pattern);
    splits.bytes = true;
  } else if (type == "Digits" && step.value("individual_digits", false)) {
    splits.patterns.emplace_back(R"(\p{N})");
  } else if (type == "Split" && step.value("behavior", "") == "Isolated" && step.at("pattern").contains("Regex")) {
    splits.patterns.push_back(step["pattern"]["Regex"].get<std::string>());
  } else {
    throw InvalidArgument({.where = where, .what = "pre-tokeniser " + type + " has no counterpart in GGUF"});
  }
}

std::string pre_tokenizer_name(const Json& root, const std::string& where) {
  Splits splits;
  if (const auto step = root.find("pre_tokenizer"); step != root.end() && step->is_object()) read_splits(*step, splits, where);
  const auto name = split_recipe_name(splits.patterns);
  if (name && splits.bytes) return *name;
  throw InvalidArgument({.where = where, .what = "cuts text in a way that GGUF has no name for", .expected = "one of " + join(split_recipe_names())});
}

std::vector<std::pair<std::string, std::string>> merges_of(const Json& model, const std::string& where) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (const auto& merge : model.value("merges", Json::array())) {
    if (merge.is_array() && merge.size() == 2) {
      merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    const auto text = merge.get<std::string>();
    const auto space = text.find(' ', 1);
    if (space == std::string::npos) throw IoError({.where = where, .what = "holds a merge that is no pair"});
    merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return merges;
}

/// GGUF scores pieces instead of listing merges: the earlier a piece is first merged, the higher its score.
std::map<std::string, double> scores_of(const std::vector<std::pair<std::string, std::string>>& merges) {
  std::map<std::string, double> scores;
  for (size_t i = 0; i < merges.size(); ++i) scores.emplace(merges[i].first + merges[i].second, -static_cast<double>(i));
  return scores;
}

bool adds_prefix_space(const Json& root) {
  const auto normalizer = root.value("normalizer", Json()), pre = root.value("pre_tokenizer", Json());
  if (normalizer.is_object() && normalizer.dump().find("\"Prepend\"") != std::string::npos) return true;
  return pre.is_object() && pre.value("type", "") == "Metaspace" && pre.value("prepend_scheme", "always") != "never" &&
         pre.value("add_prefix_space", true);
}

Tokens read_json_tokens(const std::filesystem::path& file, const TokenizerConfig& config) {
  const Json root = read_json_file(file);
  const auto where = file.string();
  const Json& model = root.at("model");
  Tokens tokens;
  const bool pieces = model.value("byte_fallback", false);
  tokens.kind = pieces ? "llama" : "gpt2";
  const auto merges = merges_of(model, where);
  const auto scores = pieces ? scores_of(merges) : std::map<std::string, double>{};
  std::vector<TokenEntry> entries;
  for (const auto& [text, id] : model.at("vocab").items()) {
    const auto score = scores.find(text);
    // Pieces that no merge makes are single characters, whose score nothing asks for.
    tokens.put(id.get<int64_t>(), text, pieces && is_byte_token(text) ? kByte : kNormal, score == scores.end() ? 0 : score->second);
    entries.push_back({text, id.get<TokenId>()});
  }
  std::vector<AddedToken> added;
  for (const auto& token : root.value("added_tokens", Json::array()))
    added.push_back({.content = token.at("content").get<std::string>(), .id = token.at("id").get<TokenId>(),
                     .special = token.value("special", false)});
  merge_added_tokens(config, TokenVocabulary(std::move(entries), where), added);
  const auto unknown = model.value("unk_token", Json());
  put_added(tokens, added, unknown.is_string() ? std::optional(unknown.get<std::string>()) : std::nullopt);
  if (pieces) {
    tokens.prefix_space = adds_prefix_space(root);
  } else {
    tokens.pre = pre_tokenizer_name(root, where);
    for (const auto& [left, right] : merges) tokens.merges.push_back(left + " " + right);
  }
  return tokens;
}

Tokens read_sentencepiece_tokens(const std::filesystem::path& file, const TokenizerConfig& config) {
  const auto where = file.string();
  const std::string model = read_file(file);
  check_sentencepiece_model(model, where);
  sentencepiece::SentencePieceProcessor processor;
  if (const auto status = processor.LoadFromSerializedProto(model); !status.ok())
    throw IoError({.where = where, .what = "SentencePiece refuses it"});
  Tokens tokens;
  tokens.kind = "llama";
  tokens.prefix_space = config.add_prefix_space.value_or(true);
  std::vector<TokenEntry> entries;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    const auto type = processor.IsUnknown(id)   ? kUnknown
                      : processor.IsControl(id) ? kControl
                      : processor.IsByte(id)    ? kByte
                      : processor.IsUnused(id)  ? kUnused
                                                : kNormal;
    tokens.put(id, processor.IdToPiece(id), type, processor.GetScore(id));
    entries.push_back({processor.IdToPiece(id), id});
  }
  std::vector<AddedToken> added;
  merge_added_tokens(config, TokenVocabulary(std::move(entries), where), added);
  put_added(tokens, added, processor.IdToPiece(processor.unk_id()));
  return tokens;
}

std::vector<GgufEntry> entries_of(Tokens tokens, const Tokenizer& tokenizer) {
  std::vector<GgufEntry> entries = {{kPrefix + "model", GgufScalar::kString, tokens.kind}};
  if (!tokens.pre.empty()) entries.push_back({kPrefix + "pre", GgufScalar::kString, tokens.pre});
  entries.push_back({kPrefix + "tokens", GgufScalar::kString, std::move(tokens.texts)});
  entries.push_back({kPrefix + "token_type", GgufScalar::kI32, std::move(tokens.types)});
  if (tokens.kind == "llama") {
    entries.push_back({kPrefix + "scores", GgufScalar::kF32, std::move(tokens.scores)});
    entries.push_back({kPrefix + "add_space_prefix", GgufScalar::kBool, tokens.prefix_space});
  } else {
    entries.push_back({kPrefix + "merges", GgufScalar::kString, std::move(tokens.merges)});
  }
  const auto& specials = tokenizer.specials();
  const auto role = [&](const char* key, const std::optional<TokenId>& id) {
    if (id) entries.push_back({kPrefix + key, GgufScalar::kU32, static_cast<int64_t>(*id)});
  };
  role("bos_token_id", specials.bos);
  role("eos_token_id", specials.eos);
  role("unknown_token_id", specials.unk);
  role("padding_token_id", specials.pad);
  entries.push_back({kPrefix + "add_bos_token", GgufScalar::kBool, specials.add_bos});
  entries.push_back({kPrefix + "add_eos_token", GgufScalar::kBool, specials.add_eos});
  if (!specials.chat_template.empty()) entries.push_back({"tokenizer.chat_template", GgufScalar::kString, specials.chat_template});
  return entries;
}

/// The reader widens numbers; what llama.cpp expects of each of these keys is known.
GgufScalar type_on_disk(const std::string& key, const formats::GgufValue& value) {
  if (std::holds_alternative<bool>(value) || std::holds_alternative<std::vector<bool>>(value)) return GgufScalar::kBool;
  if (std::holds_alternative<double>(value) || std::holds_alternative<std::vector<double>>(value)) return GgufScalar::kF32;
  if (std::holds_alternative<std::string>(value) || std::holds_alternative<std::vector<std::string>>(value)) return GgufScalar::kString;
  return key == kPrefix + "token_type" ? GgufScalar::kI32 : GgufScalar::kU32;
}

std::vector<GgufEntry> copied_entries(const std::filesystem::path& path) {
  const auto file = formats::GgufFile::open(path);
  std::vector<GgufEntry> entries;
  for (const auto& [key, value] : file.metadata()) {
    // tokenizer.ggml.precompiled_charsmap and the like are byte lists of tokenizers that we do not read.
    if (key.starts_with("tokenizer.")) entries.push_back({key, type_on_disk(key, value), value});
  }
  return entries;
}

Tokens read_folder(const std::filesystem::path& folder) {
  const auto config = read_tokenizer_config(folder);
  const auto file = folder / "tokenizer.json";
  try {
    if (std::filesystem::exists(file)) return read_json_tokens(file, config);
  } catch (const Json::exception& error) {
    throw IoError({.where = file.string(), .what = std::string("has a key of the wrong type: ") + error.what()});
  }
  return read_sentencepiece_tokens(folder / "tokenizer.model", config);
}

}  // namespace

std::vector<GgufEntry> gguf_tokenizer_entries(const std::filesystem::path& model, int64_t vocabulary) {
  if (!std::filesystem::is_directory(model)) return copied_entries(model);
  const auto tokenizer = load_tokenizer(model);  // checks the files, so that what follows can rely on their types
  auto tokens = read_folder(model);
  const auto known = static_cast<int64_t>(tokens.texts.size());
  if (known > vocabulary)
    throw InvalidArgument({.where = model.string(), .what = "the tokenizer has ids beyond the model's vocabulary",
                           .expected = "ids below " + std::to_string(vocabulary), .got = "id " + std::to_string(known - 1),
                           .hint = "take the tokenizer that belongs to these weights"});
  for (auto id = known; id < vocabulary; ++id) tokens.put(id, "[PAD" + std::to_string(id) + "]", kUnused);
  return entries_of(std::move(tokens), *tokenizer);
}

}  // namespace graft::data
