#include "data_loaders/text/clip_tokenizer_writer.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>

#include "data_loaders/text/clip_tokenizer.h"
#include "data_loaders/text/unicode_text.h"
#include "kernels/base/error.h"
#include "peft_core/base/files.h"
#include "peft_core/base/json_files.h"

namespace graft::data {
namespace {

using Json = nlohmann::ordered_json;
using Pair = std::pair<std::string, std::string>;
using Symbols = std::vector<std::string>;

/// The pieces of all words in byte characters, sorted.
std::set<std::string> pieces_of(std::span<const std::string> words) {
  std::set<std::string> pieces;
  const auto normalize = clip_normalizer();
  const auto cut = clip_pre_tokenizer();
  for (const auto& word : words) {
    PieceList list{normalize(valid_utf8(word)), {}};
    list.pieces.push_back({0, list.text.size(), true});
    cut->apply(list);
    for (const auto& piece : list.pieces) pieces.emplace(list.view(piece));
  }
  return pieces;
}

Symbols letters_of(const std::string& piece) {
  Symbols letters;
  for (size_t i = 0; i < piece.size(); i += character_length(piece, i)) letters.push_back(piece.substr(i, character_length(piece, i)));
  letters.back() += kClipWordEnd;
  return letters;
}

/// Byte-pair merges after which each piece is one token. As in training, a merge is only ever added behind the others, so it changes
/// nothing of what an encoder did before it got stuck; every new merge shortens at least one piece, so this ends.
class MergeList {
 public:
  explicit MergeList(const std::set<std::string>& pieces) {
    for (const auto& piece : pieces) pieces_.push_back(letters_of(piece));
    while (const auto pair = most_frequent()) {
      ranks_.emplace(*pair, merges.size());
      merges.push_back(*pair);
      for (auto& symbols : pieces_) encode_further(symbols);
    }
  }

  std::vector<Pair> merges;

 private:
  /// Of the pairs that are still there; the first in order of text among equals. None if each piece is whole.
  std::optional<Pair> most_frequent() const {
    std::map<Pair, size_t> counts;
    for (const auto& symbols : pieces_)
      for (size_t i = 0; i + 1 < symbols.size(); ++i) ++counts[{symbols[i], symbols[i + 1]}];
    const auto best = std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    return best == counts.end() ? std::nullopt : std::optional(best->first);
  }

  void encode_further(Symbols& symbols) const {
    for (;;) {
      size_t best = merges.size(), place = 0;
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        const auto found = ranks_.find({symbols[i], symbols[i + 1]});
        if (found != ranks_.end() && found->second < best) best = found->second, place = i;
      }
      if (best == merges.size()) return;
      symbols[place] += symbols[place + 1];
      symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(place) + 1);
    }
  }

  std::map<Pair, size_t> ranks_;
  std::vector<Symbols> pieces_;
};

/// All tokens in the order of their ids. Two merges may give the same text, which is one token.
std::vector<std::string> tokens_of(std::span<const Pair> merges) {
  auto tokens = clip_byte_tokens();
  std::set<std::string> known(tokens.begin(), tokens.end());
  for (const auto& [left, right] : merges)
    if (known.insert(left + right).second) tokens.push_back(left + right);
  tokens.emplace_back(kClipBegin);
  tokens.emplace_back(kClipEnd);
  return tokens;
}

Json special_token(const char* text, Json more) {
  Json token = {{"content", text}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", true}};
  token.update(more);
  return token;
}

Json stages_json(size_t begin, size_t end) {
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const Json split = {{"type", "Split"}, {"pattern", {{"Regex", kClipPattern}}}, {"behavior", "Removed"}, {"invert", true}};
  const Json spaces = {{"type", "Replace"}, {"pattern", {{"Regex", R"(\s+)"}}}, {"content", " "}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", {special_token(kClipBegin, {{"id", begin}, {"special", true}}), special_token(kClipEnd, {{"id", end}, {"special", true}})}},
          {"normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, spaces, {{"type", "Lowercase"}}}}}},
          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, byte_level}}}},
          {"post_processor", {{"type", "RobertaProcessing"}, {"sep", Json::array({kClipEnd, end})}, {"cls", Json::array({kClipBegin, begin})}, {"trim_offsets", false}, {"add_prefix_space", false}}},
          {"decoder", byte_level}};
}

Json model_json(const Json& vocabulary, std::span<const Pair> merges) {
  Json list = Json::array();
  for (const auto& [left, right] : merges) list.push_back(Json::array({left, right}));
  return {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", kClipEnd}, {"continuing_subword_prefix", ""}, {"end_of_word_suffix", kClipWordEnd},
          {"fuse_unk", false}, {"byte_fallback", false}, {"ignore_merges", false}, {"vocab", vocabulary}, {"merges", list}};
}

void write_configs(const std::filesystem::path& folder, size_t begin, size_t end, int64_t longest) {
  const Json roles = {{"bos_token", special_token(kClipBegin, Json::object())}, {"eos_token", special_token(kClipEnd, Json::object())},
                      {"unk_token", special_token(kClipEnd, Json::object())}, {"pad_token", kClipEnd}};
  write_json_file(folder / "special_tokens_map.json", roles);
  const Json config = {{"added_tokens_decoder", {{std::to_string(begin), special_token(kClipBegin, {{"special", true}})},
                                                 {std::to_string(end), special_token(kClipEnd, {{"special", true}})}}},
                       {"bos_token", kClipBegin}, {"eos_token", kClipEnd}, {"unk_token", kClipEnd}, {"pad_token", kClipEnd},
                       {"clean_up_tokenization_spaces", false}, {"errors", "replace"}, {"model_max_length", longest}, {"tokenizer_class", "CLIPTokenizer"}};
  write_json_file(folder / "tokenizer_config.json", config);
}

}  // namespace

void write_small_clip_tokenizer(const std::filesystem::path& folder, std::span<const std::string> words, int64_t longest) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) throw IoError({.where = folder.string(), .what = "cannot be made", .got = failed.message()});
  const MergeList list(pieces_of(words));
  const auto tokens = tokens_of(list.merges);
  Json vocabulary = Json::object();
  // Appended to the vector below: the map's own insertion would compare each key with all before it.
  auto& entries = vocabulary.get_ref<Json::object_t&>();
  for (size_t id = 0; id < tokens.size(); ++id) entries.emplace_back(tokens[id], id);
  const size_t begin = tokens.size() - 2, end = tokens.size() - 1;
  Json whole = stages_json(begin, end);
  whole["model"] = model_json(vocabulary, list.merges);
  std::string lines = "#version: 0.2\n";
  for (const auto& [left, right] : list.merges) lines += left + " " + right + "\n";
  write_json_file(folder / "vocab.json", vocabulary);
  write_file_atomically(folder / "merges.txt", lines);
  write_json_file(folder / "tokenizer.json", whole);
  write_configs(folder, begin, end, longest);
}

}  // namespace graft::data
