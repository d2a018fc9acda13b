#include "data_loaders/text/tokenizer_json_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data_loaders/text/bpe_model.h"
#include "data_loaders/text/split_patterns.h"
#include "data_loaders/text/token_vocabulary.h"
#include "data_loaders/text/tokenizer_readers.h"
#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "peft_core/formats/gguf.h"

namespace graft::data {
namespace {

using Json = nlohmann::ordered_json;
using formats::GgufFile;

const std::string kPrefix = "tokenizer.ggml.";
const std::string kSpace = "\u2581";
enum TokenType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct GgufTokens {
  const std::vector<std::string>& texts;
  std::vector<int64_t> types;

  explicit GgufTokens(const GgufFile& file) : texts(file.texts(kPrefix + "tokens")) {
    types = file.has(kPrefix + "token_type") ? file.integers(kPrefix + "token_type") : std::vector<int64_t>(texts.size(), kNormal);
  }
  const std::string& text_of(TokenId id) const { return texts[static_cast<size_t>(id)]; }
};

Json vocabulary_of(const GgufTokens& tokens) {
  Json vocabulary = Json::object();
  // Appended to the vector below: the map's own insertion would compare each key with all before it.
  auto& list = vocabulary.get_ref<Json::object_t&>();
  for (size_t id = 0; id < tokens.texts.size(); ++id)
    if (tokens.types[id] != kUnused) list.emplace_back(tokens.texts[id], id);
  return vocabulary;
}

Json added_tokens(const GgufTokens& tokens) {
  Json added = Json::array();
  for (size_t id = 0; id < tokens.texts.size(); ++id) {
    const bool special = tokens.types[id] == kControl || tokens.types[id] == kUnknown;
    if (!special && tokens.types[id] != kUserDefined) continue;
    added.push_back({{"id", id}, {"content", tokens.texts[id]}, {"single_word", false}, {"lstrip", false}, {"rstrip", false},
                     {"normalized", false}, {"special", special}});
  }
  return added;
}

/// Puts the begin and end tokens around a text that transformers encodes.
Json post_processor(const GgufTokens& tokens, const Tokenizer::Specials& specials) {
  Json single = Json::array(), pair = Json::array(), used = Json::object();
  const auto token = [&](const std::optional<TokenId>& id, bool wanted, int64_t sequence) {
    if (!wanted || !id) return;
    const Json part = {{"SpecialToken", {{"id", tokens.text_of(*id)}, {"type_id", sequence}}}};
    if (sequence == 0) single.push_back(part);
    pair.push_back(part);
    used[tokens.text_of(*id)] = {{"id", tokens.text_of(*id)}, {"ids", {*id}}, {"tokens", {tokens.text_of(*id)}}};
  };
  for (int64_t sequence = 0; sequence < 2; ++sequence) {
    token(specials.bos, specials.add_bos, sequence);
    const Json text = {{"Sequence", {{"id", sequence == 0 ? "A" : "B"}, {"type_id", sequence}}}};
    if (sequence == 0) single.push_back(text);
    pair.push_back(text);
    token(specials.eos, specials.add_eos, sequence);
  }
  if (used.empty()) return nullptr;
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", used}};
}

Json bpe_model(const GgufTokens& tokens, Json merges) {
  return {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}, {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr}, {"fuse_unk", false}, {"byte_fallback", false}, {"ignore_merges", false},
          {"vocab", vocabulary_of(tokens)}, {"merges", std::move(merges)}};
}

Json byte_level(bool prefix_space) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"trim_offsets", true}, {"use_regex", false}};
}

Json byte_level_json(const GgufFile& file, const GgufTokens& tokens) {
  const auto where = file.file()->path().string() + " " + kPrefix + "pre";
  const auto recipe = split_recipe(file.has(kPrefix + "pre") ? file.text(kPrefix + "pre") : "default", where);
  Json steps = Json::array(), merges = Json::array();
  for (const auto& pattern : recipe.patterns)
    steps.push_back({{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  steps.push_back(byte_level(false));
  for (const auto& line : file.texts(kPrefix + "merges")) {
    const auto space = line.find(' ', 1);
    merges.push_back({line.substr(0, space), line.substr(space + 1)});
  }
  auto model = bpe_model(tokens, std::move(merges));
  model["ignore_merges"] = recipe.ignore_merges;
  return {{"normalizer", recipe.compose ? Json{{"type", "NFC"}} : Json(nullptr)},
          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", steps}}},
          {"decoder", byte_level(true)},
          {"model", model}};
}

/// All ways to make a piece of two, the highest score first; among equals the earlier piece first.
Json merges_by_score(const GgufFile& file, const GgufTokens& tokens) {
  const auto scores = file.numbers(kPrefix + "scores");
  std::vector<TokenEntry> entries;
  for (const auto& text : tokens.texts) entries.push_back({text, static_cast<TokenId>(entries.size())});
  const TokenVocabulary vocabulary(std::move(entries), file.file()->path().string());
  std::vector<int64_t> ranks(tokens.texts.size(), -1);
  for (size_t id = 0; id < ranks.size(); ++id)
    if (tokens.types[id] == kNormal || tokens.types[id] == kUserDefined) ranks[id] = 0;
  auto merges = merges_from_pieces(vocabulary, ranks);
  std::stable_sort(merges.begin(), merges.end(), [&](const BpeMerge& a, const BpeMerge& b) {
    return scores[static_cast<size_t>(a.result)] > scores[static_cast<size_t>(b.result)];
  });
  Json list = Json::array();
  for (const auto& merge : merges) list.push_back({tokens.text_of(merge.left), tokens.text_of(merge.right)});
  return list;
}

Json sentencepiece_json(const GgufFile& file, const GgufTokens& tokens, const Tokenizer::Specials& specials) {
  const auto found = file.metadata().find(kPrefix + "add_space_prefix");
  const bool* said = found == file.metadata().end() ? nullptr : std::get_if<bool>(&found->second);
  const bool prefix = said == nullptr || *said;
  const auto replace = [](const std::string& from, const std::string& to) {
    return Json{{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
  };
  Json normalizers = Json::array(), decoders = Json::array();
  if (prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", kSpace}});
  normalizers.push_back(replace(" ", kSpace));
  decoders = {replace(kSpace, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
  if (prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  auto model = bpe_model(tokens, merges_by_score(file, tokens));
  model.update({{"fuse_unk", true}, {"byte_fallback", true}});
  if (specials.unk) model["unk_token"] = tokens.text_of(*specials.unk);
  return {{"normalizer", {{"type", "Sequence"}, {"normalizers", normalizers}}},
          {"pre_tokenizer", nullptr},
          {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}},
          {"model", model}};
}

void write_configs(const std::filesystem::path& folder, const GgufTokens& tokens, const Tokenizer::Specials& specials, int64_t longest) {
  Json roles = Json::object();
  const auto role = [&](const char* key, const std::optional<TokenId>& id) {
    if (id) roles[key] = tokens.text_of(*id);
  };
  role("bos_token", specials.bos);
  role("eos_token", specials.eos);
  role("unk_token", specials.unk);
  role("pad_token", specials.pad);
  write_json_file(folder / "special_tokens_map.json", roles);
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"model_max_length", longest}, {"clean_up_tokenization_spaces", false},
                 {"add_bos_token", specials.add_bos}, {"add_eos_token", specials.add_eos}};
  config.update(roles);
  if (!specials.chat_template.empty()) config["chat_template"] = specials.chat_template;
  write_json_file(folder / "tokenizer_config.json", config);
}

}  // namespace

Tokenizer::Specials write_hf_tokenizer(const std::filesystem::path& gguf, const std::filesystem::path& folder, int64_t longest) {
  const auto tokenizer = read_gguf_tokenizer(gguf);  // checks the metadata, so that what follows can rely on it
  const auto& specials = tokenizer->specials();
  const auto file = GgufFile::open(gguf);
  const GgufTokens tokens(file);
  const auto parts = file.text(kPrefix + "model") == "gpt2" ? byte_level_json(file, tokens) : sentencepiece_json(file, tokens, specials);
  const Json json = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}, {"added_tokens", added_tokens(tokens)},
                     {"normalizer", parts["normalizer"]}, {"pre_tokenizer", parts["pre_tokenizer"]},
                     {"post_processor", post_processor(tokens, specials)}, {"decoder", parts["decoder"]}, {"model", parts["model"]}};
  write_json_file(folder / "tokenizer.json", json);
  write_configs(folder, tokens, specials, longest);
  return specials;
}

}  // namespace graft::data
