#include "data_loaders/text/tokenizer_config.h"

#include <algorithm>
#include <charconv>

#include "data_loaders/text/json_fields.h"
#include "peft_core/base/files.h"
#include "peft_core/base/json_files.h"
#include "peft_core/formats/shown_name.h"

namespace graft::data {
namespace {

constexpr const char* kNamedTokens[] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

// A token is written as its text or as an object with its text and flags.
AddedToken read_token(const Json& json, const std::string& where) {
  if (json.is_string()) return {.content = json.get<std::string>(), .special = true};
  const JsonFields fields(json, where);
  return {.content = fields.text("content"),
          .special = fields.flag("special", true),
          .lstrip = fields.flag("lstrip", false),
          .rstrip = fields.flag("rstrip", false),
          .single_word = fields.flag("single_word", false),
          .normalized = fields.flag("normalized", false)};
}

void read_added(const JsonFields& fields, TokenizerConfig& config) {
  const Json* list = fields.find("added_tokens_decoder");
  if (list == nullptr) return;
  if (!list->is_object()) throw IoError({.where = fields.where(), .what = "\"added_tokens_decoder\" is no object"});
  for (const auto& [key, value] : list->items()) {
    AddedToken token = read_token(value, fields.where() + " added_tokens_decoder");
    const auto parsed = std::from_chars(key.data(), key.data() + key.size(), token.id);
    if (parsed.ec != std::errc() || parsed.ptr != key.data() + key.size() || token.id < 0)
      throw IoError({.where = fields.where(), .what = "added_tokens_decoder has a key that is no token id", .got = formats::shown(key)});
    token.special = JsonFields(value, fields.where()).flag("special", false);
    config.added.push_back(token);
  }
  std::sort(config.added.begin(), config.added.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
}

void read_named(const JsonFields& fields, TokenizerConfig& config) {
  const auto known = [&](const std::string& content) {
    return std::any_of(config.named.begin(), config.named.end(), [&](const auto& token) { return token.content == content; });
  };
  std::optional<std::string>* const slots[] = {&config.bos, &config.eos, &config.unk, nullptr, &config.pad, nullptr, nullptr};
  for (size_t i = 0; i < std::size(kNamedTokens); ++i) {
    const Json* value = fields.find(kNamedTokens[i]);
    if (value == nullptr) continue;
    AddedToken token = read_token(*value, fields.where() + " " + kNamedTokens[i]);
    token.special = true;
    if (slots[i] != nullptr && !*slots[i]) *slots[i] = token.content;
    if (!known(token.content)) config.named.push_back(token);
  }
  if (const Json* more = fields.find("additional_special_tokens"); more != nullptr && more->is_array()) {
    for (const Json& value : *more) {
      AddedToken token = read_token(value, fields.where() + " additional_special_tokens");
      token.special = true;
      if (!known(token.content)) config.named.push_back(token);
    }
  }
}

// One template, or a list of named ones of which "default" counts.
std::string read_template(const JsonFields& fields) {
  const Json* value = fields.find("chat_template");
  if (value == nullptr) return {};
  if (value->is_string()) return value->get<std::string>();
  if (!value->is_array()) throw IoError({.where = fields.where(), .what = "\"chat_template\" has the wrong type", .expected = "a string or a list", .got = value->type_name()});
  for (const Json& item : *value) {
    const JsonFields named(item, fields.where() + " chat_template");
    if (named.text("name") == "default") return named.text("template");
  }
  return {};
}

// As for the vocabulary itself: real files leave few holes, and a damaged id must neither overflow nor ask for gigabytes.
void expect_plausible(const AddedToken& token, int64_t vocabulary_size) {
  const int64_t limit = vocabulary_size + 1'000'000;
  if (token.id > limit)
    throw IoError({.where = "added token " + formats::shown(token.content), .what = "has an id out of range",
                   .expected = "at most " + std::to_string(limit), .got = std::to_string(token.id)});
}

std::optional<bool> read_flag(const JsonFields& fields, const char* key) {
  const Json* value = fields.find(key);
  return value == nullptr || !value->is_boolean() ? std::nullopt : std::optional(value->get<bool>());
}

}  // namespace

TokenizerConfig read_tokenizer_config(const std::filesystem::path& folder) {
  TokenizerConfig config;
  if (const auto file = folder / "tokenizer_config.json"; std::filesystem::exists(file)) {
    const Json json = read_json_file(file);
    const JsonFields fields(json, file.string());
    config.present = true;
    config.tokenizer_class = fields.text("tokenizer_class", "");
    read_added(fields, config);
    read_named(fields, config);
    config.add_bos = read_flag(fields, "add_bos_token");
    config.add_eos = read_flag(fields, "add_eos_token");
    config.add_prefix_space = read_flag(fields, "add_prefix_space");
    config.legacy = read_flag(fields, "legacy");
    config.chat_template = read_template(fields);
  }
  // Newer folders repeat here what the config's added_tokens_decoder says; only older ones need it.
  if (const auto file = folder / "special_tokens_map.json"; config.added.empty() && std::filesystem::exists(file)) {
    const Json json = read_json_file(file);
    read_named(JsonFields(json, file.string()), config);
  }
  if (const auto file = folder / "chat_template.jinja"; std::filesystem::exists(file)) config.chat_template = read_file(file);
  return config;
}

void merge_added_tokens(const TokenizerConfig& config, const TokenVocabulary& vocabulary, std::vector<AddedToken>& added) {
  const auto place = [&](const std::string& content) {
    return std::find_if(added.begin(), added.end(), [&](const auto& token) { return token.content == content; });
  };
  TokenId free = static_cast<TokenId>(vocabulary.size());
  for (const auto& token : added) {
    expect_plausible(token, vocabulary.size());
    free = std::max(free, token.id + 1);
  }
  for (AddedToken token : config.added) {
    const auto same = place(token.content);
    if (same != added.end()) {
      token.id = same->id;
      token.special = token.special || same->special;
      *same = token;
      continue;
    }
    token.id = vocabulary.find(token.content).value_or(token.id);
    expect_plausible(token, vocabulary.size());
    free = std::max(free, token.id + 1);
    added.push_back(token);
  }
  for (AddedToken token : config.named) {
    if (const auto same = place(token.content); same != added.end()) {
      same->special = true;
      continue;
    }
    const auto id = vocabulary.find(token.content);
    token.id = id ? *id : free++;
    added.push_back(token);
  }
}

void resolve_specials(const TokenizerConfig& config, const std::vector<AddedToken>& added, const TokenVocabulary& vocabulary,
                      Tokenizer::Specials& specials) {
  const auto resolve = [&](const std::optional<std::string>& name, std::optional<TokenId>& id) {
    if (!name) return;
    const auto same = std::find_if(added.begin(), added.end(), [&](const auto& token) { return token.content == *name; });
    id = same != added.end() ? std::optional(same->id) : vocabulary.find(*name);
  };
  resolve(config.bos, specials.bos);
  resolve(config.eos, specials.eos);
  resolve(config.unk, specials.unk);
  resolve(config.pad, specials.pad);
  specials.add_bos = config.add_bos.value_or(specials.add_bos);
  specials.add_eos = config.add_eos.value_or(specials.add_eos);
  if (!config.chat_template.empty()) specials.chat_template = config.chat_template;
}

}  // namespace graft::data
