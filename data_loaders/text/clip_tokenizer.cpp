#include "data_loaders/text/clip_tokenizer.h"

#include <algorithm>

#include "data_loaders/text/bpe_model.h"
#include "data_loaders/text/gzip_bytes.h"
#include "data_loaders/text/tokenizer_json_stages.h"
#include "data_loaders/text/tokenizer_readers.h"
#include "peft_core/base/files.h"
#include "peft_core/base/json_files.h"
#include "peft_core/formats/shown_name.h"

namespace graft::data {

const std::string_view kClipPattern = R"('s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)";

Normalizer clip_normalizer() {
  return sequence_of({unicode_form_normalizer(NormalForm::kNfc), replace_normalizer({R"(\s+)", "CLIP normalizer"}, " "), lowercase_normalizer()});
}

PreTokenizerPtr clip_pre_tokenizer() {
  return sequence_of({split_step({kClipPattern, "CLIP pre_tokenizer"}, SplitBehavior::kRemoved, SplitOn::kGaps),
                      byte_level_step({.add_prefix_space = false, .split_as_gpt2 = true})});
}

std::vector<std::string> clip_byte_tokens() {
  std::vector<std::string> tokens(byte_characters().begin(), byte_characters().end());
  std::sort(tokens.begin(), tokens.end());  // in UTF-8 the order of bytes is that of code points
  for (size_t i = 0; i < 256; ++i) tokens.push_back(tokens[i] + kClipWordEnd);
  return tokens;
}

namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

// OpenAI's list is far longer than its vocabulary of 49152 + 256; the program and transformers both stop here.
constexpr size_t kMostMerges = 49152 - 256 - 2;
constexpr size_t kLargestList = 64u << 20;  // bytes; the published one has 3.2 million

std::pair<std::string, std::string> read_pair(std::string_view line, const std::string& where, size_t number) {
  const size_t space = line.find(' ');
  const bool two = space != std::string_view::npos && space > 0 && space + 1 < line.size() && line.find(' ', space + 1) == std::string_view::npos;
  if (!two || !is_valid_utf8(line))
    throw IoError({.where = where + " line " + std::to_string(number), .what = "is no pair of tokens", .got = formats::shown(line)});
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

/// The first line names the version, in every published list; without it a reader cannot know whether that line is a merge.
Pairs read_merge_lines(std::string_view text, const std::string& where) {
  Pairs pairs;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size() && pairs.size() < kMostMerges; ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (number == 0 && line.find("#version") == std::string_view::npos)
      throw IoError({.where = where, .what = "is no list of CLIP merges", .expected = "a first line with #version", .got = formats::shown(line)});
    if (number > 0 && !line.empty()) pairs.push_back(read_pair(line, where, number + 1));
  }
  if (pairs.empty()) throw IoError({.where = where, .what = "holds no merges"});
  return pairs;
}

void add_special(const std::optional<std::string>& name, const TokenVocabulary& vocabulary, PipelineParts& parts) {
  const auto id = vocabulary.find(*name);
  if (!id) throw IoError({.where = parts.where, .what = "the vocabulary lacks CLIP's token " + formats::shown(*name)});
  parts.added.push_back({.content = *name, .id = *id, .special = true, .normalized = true});
}

/// `config` has names for begin, end, unknown and padding.
std::shared_ptr<const Tokenizer> clip_tokenizer(std::vector<TokenEntry> entries, const Pairs& merges, const TokenizerConfig& config, std::string where) {
  PipelineParts parts;
  parts.where = std::move(where);
  const auto vocabulary = std::make_shared<const TokenVocabulary>(std::move(entries), parts.where);
  add_special(config.bos, *vocabulary, parts);
  add_special(config.eos, *vocabulary, parts);
  BpeOptions options;
  options.unk = vocabulary->find(*config.unk);
  options.end_suffix = kClipWordEnd;
  parts.model = std::make_shared<BpeModel>(vocabulary, merges_from_pairs(*vocabulary, merges, 0, parts.where), options);
  parts.normalizer = clip_normalizer();
  parts.pre_tokenizer = clip_pre_tokenizer();
  parts.decoder = sequence_of({byte_level_decoder(), word_end_decoder(kClipWordEnd)});
  parts.specials.add_bos = parts.specials.add_eos = true;
  merge_added_tokens(config, *vocabulary, parts.added);
  resolve_specials(config, parts.added, *vocabulary, parts.specials);
  return std::make_shared<PipelineTokenizer>(std::move(parts));
}

TokenizerConfig clip_defaults() { return with_clip_names({.tokenizer_class = "CLIPTokenizer"}); }

bool is_clip_class(const std::string& name) { return name == "CLIPTokenizer" || name == "CLIPTokenizerFast"; }

}  // namespace

TokenizerConfig with_clip_names(TokenizerConfig config) {
  if (!is_clip_class(config.tokenizer_class)) return config;
  const auto name = [](std::optional<std::string>& slot, const char* usual) {
    if (!slot) slot = usual;
  };
  name(config.bos, kClipBegin);
  for (auto* slot : {&config.eos, &config.unk, &config.pad}) name(*slot, kClipEnd);
  config.add_bos.reset();  // switches of other classes
  config.add_eos.reset();
  return config;
}

std::shared_ptr<const Tokenizer> read_clip_folder(const std::filesystem::path& folder, const TokenizerConfig& config) {
  if (!config.tokenizer_class.empty() && !is_clip_class(config.tokenizer_class))
    throw InvalidArgument({.where = folder.string(), .what = "vocab.json and merges.txt of this tokenizer class are not supported",
                           .expected = "CLIPTokenizer", .got = formats::shown(config.tokenizer_class),
                           .hint = "save the folder with transformers' fast tokenizer, which writes tokenizer.json"});
  TokenizerConfig named = config;
  named.tokenizer_class = "CLIPTokenizer";
  const auto vocab = folder / "vocab.json", merges = folder / "merges.txt";
  auto entries = read_vocabulary(read_json_file(vocab), vocab.string());
  const auto mapped = MappedFile::open(merges);
  return clip_tokenizer(std::move(entries), read_merge_lines(mapped->text(), merges.string()), with_clip_names(named), vocab.string() + " with merges.txt");
}

std::shared_ptr<const Tokenizer> read_clip_merges(const std::filesystem::path& file) {
  const auto mapped = MappedFile::open(file);
  const std::string where = file.string();
  const auto pairs = is_gzip(mapped->bytes()) ? read_merge_lines(gunzip(mapped->bytes(), kLargestList, where), where) : read_merge_lines(mapped->text(), where);
  std::vector<TokenEntry> entries;
  const auto add = [&](std::string text) { entries.push_back({std::move(text), static_cast<TokenId>(entries.size())}); };
  for (auto& token : clip_byte_tokens()) add(std::move(token));
  for (const auto& [left, right] : pairs) add(left + right);
  add(kClipBegin);
  add(kClipEnd);
  return clip_tokenizer(std::move(entries), pairs, clip_defaults(), where);
}

}  // namespace graft::data
