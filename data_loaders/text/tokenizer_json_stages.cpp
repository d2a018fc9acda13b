#include "data_loaders/text/tokenizer_json_stages.h"

#include <map>

#include "peft_core/base/text_distance.h"
#include "peft_core/formats/shown_name.h"

namespace graft::data {
namespace {

// One row for each supported type: its name and how it is read.
template <class Stage>
using Readers = std::map<std::string, std::function<Stage(const JsonFields&)>>;

template <class Stage>
Stage read_stage(const Json& json, const std::string& where, const Readers<Stage>& readers) {
  const JsonFields fields(json, where);
  const std::string type = fields.text("type");
  const auto reader = readers.find(type);
  if (reader == readers.end()) {
    std::vector<std::string> known;
    for (const auto& [name, unused] : readers) known.push_back(name);
    throw InvalidArgument({.where = where, .what = "type is not supported", .expected = "one of " + join(known), .got = formats::shown(type)});
  }
  return reader->second(JsonFields(json, where + " " + type));
}

template <class Stage, class Read>
std::vector<Stage> read_list(const JsonFields& fields, const char* key, Read read) {
  std::vector<Stage> stages;
  const Json* list = fields.array(key);
  if (list == nullptr) throw IoError({.where = fields.where(), .what = std::string("\"") + key + "\" is missing"});
  for (const Json& item : *list) stages.push_back(read(item, fields.where()));
  return stages;
}

UnicodeRegex read_pattern(const JsonFields& fields) {
  const JsonFields pattern = fields.object("pattern");
  if (pattern.find("Regex") != nullptr) return {pattern.text("Regex"), fields.where()};
  return UnicodeRegex::literal(pattern.text("String"), fields.where());
}

SplitBehavior read_behavior(const JsonFields& fields, const std::string& fallback) {
  static const std::map<std::string, SplitBehavior> known = {{"Removed", SplitBehavior::kRemoved},
                                                             {"Isolated", SplitBehavior::kIsolated},
                                                             {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
                                                             {"MergedWithNext", SplitBehavior::kMergedWithNext},
                                                             {"Contiguous", SplitBehavior::kContiguous}};
  const std::string name = fields.text("behavior", fallback);
  const auto it = known.find(name);
  if (it == known.end()) throw IoError({.where = fields.where(), .what = "unknown \"behavior\"", .got = formats::shown(name)});
  return it->second;
}

PrefixSpace read_prefix(const JsonFields& fields) {
  const std::string scheme = fields.text("prepend_scheme", fields.flag("add_prefix_space", true) ? "always" : "never");
  if (scheme == "always") return PrefixSpace::kAlways;
  if (scheme == "first") return PrefixSpace::kFirst;
  if (scheme == "never") return PrefixSpace::kNever;
  throw IoError({.where = fields.where(), .what = "unknown \"prepend_scheme\"", .expected = "always, first or never", .got = formats::shown(scheme)});
}

template <NormalForm form>
Normalizer unicode_form(const JsonFields&) {
  return unicode_form_normalizer(form);
}

PreTokenizerPtr simple_split(const char* pattern, SplitBehavior behavior, SplitOn on, const JsonFields& fields) {
  return split_step({pattern, fields.where()}, behavior, on);
}

// The reference's tables for this stage are of about Unicode 7: without what came later, with two that were punctuation then.
const char* const kPunctuation =
    R"((?![)"
    R"(\x{61D}\x{9FD}\x{A76}\x{C77}\x{C84}\x{1B4E}-\x{1B4F}\x{1B7D}-\x{1B7E}\x{1B7F}\x{2E43}-\x{2E4F})"
    R"(\x{2E52}-\x{2E5D}\x{10D6E}\x{10EAD}\x{10F55}-\x{10F59}\x{10F86}-\x{10F89}\x{113D4}-\x{113D5})"
    R"(\x{113D7}-\x{113D8}\x{1144B}-\x{1144F}\x{1145A}-\x{1145B}\x{1145D}\x{11660}-\x{1166C}\x{116B9}\x{1183B})"
    R"(\x{11944}-\x{11946}\x{119E2}\x{11A3F}-\x{11A46}\x{11A9A}-\x{11A9C}\x{11A9E}-\x{11AA2}\x{11B00}-\x{11B09})"
    R"(\x{11BE1}\x{11C41}-\x{11C45}\x{11C70}-\x{11C71}\x{11EF7}-\x{11EF8}\x{11F43}-\x{11F4F}\x{11FFF})"
    R"(\x{12FF1}-\x{12FF2}\x{16D6D}-\x{16D6F}\x{16E97}-\x{16E9A}\x{16FE2}\x{1E5FF}\x{1E95E}-\x{1E95F})"
    R"(])[!-/:-@\[-`{-~\p{P}\x{166D}\x{111C9}])";

const Readers<Normalizer>& normalizer_readers() {
  static const Readers<Normalizer> readers = {
      {"NFC", unicode_form<NormalForm::kNfc>},
      {"NFD", unicode_form<NormalForm::kNfd>},
      {"NFKC", unicode_form<NormalForm::kNfkc>},
      {"NFKD", unicode_form<NormalForm::kNfkd>},
      {"Lowercase", [](const JsonFields&) { return lowercase_normalizer(); }},
      {"StripAccents", [](const JsonFields&) { return strip_marks_normalizer(); }},
      {"Strip", [](const JsonFields& f) { return strip_white_space_normalizer(f.flag("strip_left", true), f.flag("strip_right", true)); }},
      {"Prepend", [](const JsonFields& f) { return prepend_normalizer(f.text("prepend")); }},
      {"ByteLevel", [](const JsonFields&) { return byte_level_normalizer(); }},
      {"Replace",
       [](const JsonFields& f) {
         const JsonFields pattern = f.object("pattern");
         if (pattern.find("String") != nullptr) return replace_text_normalizer(pattern.text("String"), f.text("content"));
         return replace_normalizer(read_pattern(f), f.text("content"));
       }},
      {"Sequence", [](const JsonFields& f) { return sequence_of(read_list<Normalizer>(f, "normalizers", read_normalizer)); }},
  };
  return readers;
}

const Readers<PreTokenizerPtr>& pre_tokenizer_readers() {
  static const Readers<PreTokenizerPtr> readers = {
      {"ByteLevel",
       [](const JsonFields& f) {
         return byte_level_step({.add_prefix_space = f.flag("add_prefix_space", true), .split_as_gpt2 = f.flag("use_regex", true)});
       }},
      {"Split",
       [](const JsonFields& f) {
         return split_step(read_pattern(f), read_behavior(f, ""), f.flag("invert", false) ? SplitOn::kGaps : SplitOn::kMatches);
       }},
      {"Digits",
       [](const JsonFields& f) {
         const bool each = f.flag("individual_digits", false);
         return simple_split(R"(\p{N})", each ? SplitBehavior::kIsolated : SplitBehavior::kContiguous, SplitOn::kMatches, f);
       }},
      {"Punctuation", [](const JsonFields& f) { return simple_split(kPunctuation, read_behavior(f, "Isolated"), SplitOn::kMatches, f); }},
      {"Whitespace",
       [](const JsonFields& f) {
         return simple_split(R"([\p{Alphabetic}\p{L}\p{Nl}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}]+|[^\p{Alphabetic}\p{L}\p{Nl}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}\s]+)",
                             SplitBehavior::kRemoved, SplitOn::kGaps, f);
       }},
      {"WhitespaceSplit", [](const JsonFields& f) { return simple_split(R"(\s)", SplitBehavior::kRemoved, SplitOn::kMatches, f); }},
      {"BertPreTokenizer",
       [](const JsonFields& f) {
         return sequence_of({simple_split(R"(\s)", SplitBehavior::kRemoved, SplitOn::kMatches, f),
                             simple_split(kPunctuation, SplitBehavior::kIsolated, SplitOn::kMatches, f)});
       }},
      {"CharDelimiterSplit",
       [](const JsonFields& f) { return split_step(UnicodeRegex::literal(f.text("delimiter"), f.where()), SplitBehavior::kRemoved); }},
      {"Metaspace",
       [](const JsonFields& f) {
         return metaspace_step({.replacement = f.text("replacement"), .prefix = read_prefix(f), .split = f.flag("split", true)});
       }},
      {"Sequence",
       [](const JsonFields& f) { return sequence_of(read_list<PreTokenizerPtr>(f, "pretokenizers", read_pre_tokenizer)); }},
  };
  return readers;
}

size_t count_of(const JsonFields& fields, const char* key) {
  const int64_t value = fields.integer(key);
  if (value < 0) throw IoError({.where = fields.where(), .what = std::string("\"") + key + "\" is negative"});
  return static_cast<size_t>(value);
}

const Readers<TokenDecoder>& decoder_readers() {
  static const Readers<TokenDecoder> readers = {
      {"ByteLevel", [](const JsonFields&) { return byte_level_decoder(); }},
      {"ByteFallback", [](const JsonFields&) { return byte_fallback_decoder(); }},
      {"Fuse", [](const JsonFields&) { return fuse_decoder(); }},
      {"Strip", [](const JsonFields& f) { return strip_decoder(f.text("content"), count_of(f, "start"), count_of(f, "stop")); }},
      {"Replace",
       [](const JsonFields& f) {
         const JsonFields pattern = f.object("pattern");
         if (pattern.find("String") != nullptr) return replace_text_decoder(pattern.text("String"), f.text("content"));
         return replace_decoder(read_pattern(f), f.text("content"));
       }},
      {"Metaspace", [](const JsonFields& f) { return metaspace_decoder(f.text("replacement"), read_prefix(f) != PrefixSpace::kNever); }},
      {"BPEDecoder", [](const JsonFields& f) { return word_suffix_decoder(f.text("suffix", "</w>")); }},
      {"Sequence", [](const JsonFields& f) { return sequence_of(read_list<TokenDecoder>(f, "decoders", read_decoder)); }},
  };
  return readers;
}

// A special token is written as [text, id].
std::string read_name(const JsonFields& fields, const char* key) {
  const Json* pair = fields.array(key);
  if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string())
    throw IoError({.where = fields.where(), .what = std::string("\"") + key + "\" is no pair of a token and its id"});
  return (*pair)[0].get<std::string>();
}

AddedAround read_template(const JsonFields& fields) {
  AddedAround around;
  bool text_seen = false;
  if (const Json* single = fields.array("single")) {
    for (const Json& item : *single) {
      const JsonFields piece(item, fields.where());
      if (piece.find("SpecialToken") == nullptr) {
        text_seen = true;
        continue;
      }
      (text_seen ? around.last : around.first) = piece.object("SpecialToken").text("id");
    }
  }
  return around;
}

}  // namespace

Normalizer read_normalizer(const Json& json, const std::string& where) {
  return json.is_null() ? Normalizer() : read_stage(json, where + " normalizer", normalizer_readers());
}

PreTokenizerPtr read_pre_tokenizer(const Json& json, const std::string& where) {
  return json.is_null() ? nullptr : read_stage(json, where + " pre_tokenizer", pre_tokenizer_readers());
}

TokenDecoder read_decoder(const Json& json, const std::string& where) {
  return json.is_null() ? TokenDecoder() : read_stage(json, where + " decoder", decoder_readers());
}

TokenId read_token_id(const Json& value, const std::string& where) {
  if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() > INT32_MAX)
    throw IoError({.where = where, .what = "a token id is no non-negative integer", .got = formats::shown(value.dump())});
  return static_cast<TokenId>(value.get<int64_t>());
}

std::vector<TokenEntry> read_vocabulary(const Json& vocab, const std::string& where) {
  if (!vocab.is_object()) throw IoError({.where = where, .what = "is no object of tokens and their ids"});
  std::vector<TokenEntry> entries;
  entries.reserve(vocab.size());
  for (const auto& [text, id] : vocab.items()) entries.push_back({text, read_token_id(id, where)});
  return entries;
}

AddedAround read_post_processor(const Json& json, const std::string& where) {
  if (json.is_null()) return {};
  const JsonFields fields(json, where + " post_processor");
  const std::string type = fields.text("type");
  if (type == "TemplateProcessing") return read_template(fields);
  if (type == "RobertaProcessing" || type == "BertProcessing") return {read_name(fields, "cls"), read_name(fields, "sep")};
  AddedAround around;
  if (type == "Sequence") {
    const Json* list = fields.array("processors");
    for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
      const AddedAround inner = read_post_processor((*list)[i], where);
      if (!inner.first.empty()) around.first = inner.first;
      if (!inner.last.empty()) around.last = inner.last;
    }
  }
  return around;
}

}  // namespace graft::data
