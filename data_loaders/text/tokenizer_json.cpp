#include <algorithm>

#include "data_loaders/text/bpe_model.h"
#include "data_loaders/text/json_fields.h"
#include "data_loaders/text/tokenizer_json_stages.h"
#include "data_loaders/text/tokenizer_readers.h"
#include "peft_core/base/json_files.h"
#include "peft_core/formats/shown_name.h"

namespace graft::data {
namespace {

// Older files write a merge as "a b", newer ones as ["a", "b"].
std::pair<std::string, std::string> read_pair(const Json& merge, const std::string& where) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos)
      return {text.substr(0, space), text.substr(space + 1)};
  }
  throw IoError({.where = where, .what = "a merge is no pair of tokens", .got = formats::shown(merge.dump())});
}

std::vector<BpeMerge> read_merges(const JsonFields& model, const TokenVocabulary& vocabulary, size_t prefix_length) {
  const std::string where = model.where() + " merges";
  const Json* list = model.array("merges");
  if (list == nullptr) throw IoError({.where = model.where(), .what = "\"merges\" is missing"});
  std::vector<std::pair<std::string, std::string>> pairs;
  pairs.reserve(list->size());
  for (const Json& item : *list) pairs.push_back(read_pair(item, where));
  return merges_from_pairs(vocabulary, pairs, prefix_length, where);
}

std::shared_ptr<const SubwordModel> read_bpe(const JsonFields& model) {
  const std::string where = model.where() + " vocab";
  auto vocabulary = std::make_shared<const TokenVocabulary>(read_vocabulary(model.at("vocab"), where), where);
  BpeOptions options;
  if (model.find("unk_token") != nullptr) options.unk = vocabulary->find(model.text("unk_token"));
  options.fuse_unk = model.flag("fuse_unk", false);
  options.byte_fallback = model.flag("byte_fallback", false);
  options.ignore_merges = model.flag("ignore_merges", false);
  options.continuing_prefix = model.text("continuing_subword_prefix", "");
  options.end_suffix = model.text("end_of_word_suffix", "");
  const auto merges = read_merges(model, *vocabulary, options.continuing_prefix.size());
  return std::make_shared<BpeModel>(std::move(vocabulary), merges, options);
}

// Files from before the "type" key existed hold BPE where there are merges.
std::shared_ptr<const SubwordModel> read_model(const Json& json, const std::string& where) {
  const JsonFields model(json, where + " model");
  const std::string type = model.text("type", model.find("merges") != nullptr ? "BPE" : "");
  if (type == "BPE") return read_bpe(model);
  throw InvalidArgument({.where = where, .what = "tokenizer model is not supported", .expected = "BPE", .got = formats::shown(type)});
}

std::vector<AddedToken> read_added_tokens(const JsonFields& root, const TokenVocabulary& vocabulary) {
  std::vector<AddedToken> tokens;
  const Json* list = root.array("added_tokens");
  if (list == nullptr) return tokens;
  for (const Json& item : *list) {
    const JsonFields fields(item, root.where() + " added_tokens");
    AddedToken token{.content = fields.text("content"),
                     .id = read_token_id(fields.at("id"), fields.where()),
                     .special = fields.flag("special", false),
                     .lstrip = fields.flag("lstrip", false),
                     .rstrip = fields.flag("rstrip", false),
                     .single_word = fields.flag("single_word", false),
                     .normalized = fields.flag("normalized", true)};
    if (token.content.empty()) continue;
    token.id = vocabulary.find(token.content).value_or(token.id);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

// With a config, transformers sets this flag of an outermost ByteLevel from there, where it is off unless told.
Json override_prefix_space(Json pre_tokenizer, const TokenizerConfig& config) {
  if (config.present && pre_tokenizer.is_object() && pre_tokenizer.value("type", Json()) == "ByteLevel")
    pre_tokenizer["add_prefix_space"] = config.add_prefix_space.value_or(false);
  return pre_tokenizer;
}

// Byte-level tokens with a mark at the end of words are CLIP's, whose class in transformers does this behind the library's back.
TokenDecoder add_word_ends(TokenDecoder decoder, const Json& json, const std::string& end_suffix) {
  if (end_suffix.empty() || !json.is_object() || json.value("type", Json()) != "ByteLevel") return decoder;
  return sequence_of({std::move(decoder), word_end_decoder(end_suffix)});
}

const Json& member(const Json& root, const char* key) {
  static const Json null;
  const auto it = root.find(key);
  return it == root.end() ? null : *it;
}

}  // namespace

std::shared_ptr<const Tokenizer> read_tokenizer_json(const std::filesystem::path& file, const TokenizerConfig& config) {
  const Json json = read_json_file(file);
  const JsonFields root(json, file.string());
  PipelineParts parts;
  parts.where = file.string();
  parts.model = read_model(root.at("model"), parts.where);
  const TokenVocabulary& vocabulary = parts.model->vocabulary();
  parts.added = read_added_tokens(root, vocabulary);
  parts.normalizer = read_normalizer(member(json, "normalizer"), parts.where);
  parts.pre_tokenizer = read_pre_tokenizer(override_prefix_space(member(json, "pre_tokenizer"), config), parts.where);
  parts.decoder = add_word_ends(read_decoder(member(json, "decoder"), parts.where), member(json, "decoder"),
                                root.object("model").text("end_of_word_suffix", ""));
  const AddedAround around = read_post_processor(member(json, "post_processor"), parts.where);
  parts.specials.add_bos = !around.first.empty();
  parts.specials.add_eos = !around.last.empty();
  TokenizerConfig named = config;
  if (!named.bos && !around.first.empty()) named.bos = around.first;
  if (!named.eos && !around.last.empty()) named.eos = around.last;
  merge_added_tokens(config, vocabulary, parts.added);
  resolve_specials(named, parts.added, vocabulary, parts.specials);
  return std::make_shared<PipelineTokenizer>(std::move(parts));
}

}  // namespace graft::data
