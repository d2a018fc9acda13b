#include "pipelines/language/text_samples.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data_loaders/text/tokenizer_fingerprint.h"
#include "kernels/base/error.h"

namespace graft::pipelines {
namespace {

using Json = nlohmann::json;

bool is_document(const data::Record& record) { return record.turns.empty(); }

data::TokenSample document_sample(const data::Tokenizer& tokenizer, const data::Record& record) {
  data::TokenSample sample{.ids = tokenizer.encode(record.text, data::SpecialText::kPlain), .learn = {}};
  if (const auto end = tokenizer.specials().eos) sample.ids.push_back(*end);
  sample.learn.assign(sample.ids.size(), 1);
  return sample;
}

EncodedRecords encode_now(const data::Tokenizer& tokenizer, const TextEncoding& encoding, const std::vector<data::Record>& records,
                          int64_t max_length) {
  EncodedRecords encoded;
  std::vector<data::TokenSample> samples;
  for (const auto& record : records) {
    const auto policy = is_document(record) ? data::LongSample::kSplit : data::LongSample::kTruncate;
    data::FitReport fit;
    std::vector<data::TokenSample> whole;
    whole.push_back(encode_record(tokenizer, encoding, record));
    auto pieces = data::fit_to_length(std::move(whole), max_length, policy, &fit);
    encoded.samples_of.push_back(static_cast<int64_t>(pieces.size()));
    std::move(pieces.begin(), pieces.end(), std::back_inserter(samples));
    encoded.fit += fit;
  }
  encoded.samples = data::TokenSet(samples);
  return encoded;
}

/// A program that was built anew may encode in another way, so its file counts as one of the inputs.
std::string program_identity() {
  std::error_code error;
  const std::filesystem::path self = "/proc/self/exe";
  const auto size = std::filesystem::file_size(self, error);
  const auto time = std::filesystem::last_write_time(std::filesystem::read_symlink(self, error), error);
  return std::to_string(size) + " " + std::to_string(time.time_since_epoch().count());
}

/// Everything that encode_now depends on.
std::string cache_key(const TextEncoding& encoding, const std::vector<data::Record>& records, int64_t max_length) {
  std::vector<std::string> parts = {program_identity(), data::tokenizer_fingerprint(encoding.tokenizer_files), std::to_string(max_length),
                                    encoding.answers_only ? "answers" : "all", encoding.options.thinking ? "thinking" : "",
                                    encoding.options.default_system ? "system " + *encoding.options.default_system : ""};
  if (encoding.format) {
    // Bound by position: a new member does not compile until it is looked at here. Stop markers have no part in encoding.
    const auto& [name, family, default_system, preamble, tool_as_user, instruction, stop_markers] = *encoding.format;
    parts.insert(parts.end(), {name, std::to_string(static_cast<int>(family)), default_system, preamble, tool_as_user ? "tool as user" : "",
                               instruction.open, instruction.close, instruction.answer});
  }
  for (const auto& record : records) {
    parts.push_back(std::to_string(record.turns.size()));
    for (const auto& turn : record.turns) parts.push_back(turn.role), parts.push_back(turn.content);
    if (is_document(record)) parts.push_back(record.text);
  }
  return data::token_cache_key(parts);
}

std::string note_of(const EncodedRecords& encoded) {
  const auto& [samples, truncated, split, pieces, dropped, lost_tokens] = encoded.fit;
  return Json{{"fit", {samples, truncated, split, pieces, dropped, lost_tokens}}, {"samples_of", encoded.samples_of}}.dump();
}

/// The note is covered by the cache file's checksum, so it is as note_of wrote it.
EncodedRecords with_note(data::TokenSet samples, const std::string& note) {
  const auto json = Json::parse(note);
  const auto fit = json.at("fit").get<std::vector<int64_t>>();
  return {std::move(samples), json.at("samples_of").get<std::vector<int64_t>>(),
          {.samples = fit.at(0), .truncated = fit.at(1), .split = fit.at(2), .pieces = fit.at(3), .dropped = fit.at(4), .lost_tokens = fit.at(5)}};
}

}  // namespace

TextEncoding TextEncoding::of(const LanguageModel& language, const data::DataConfig& config,
                              const std::vector<data::Record>& records) {
  TextEncoding encoding;
  encoding.answers_only = config.loss_on == "answers";
  encoding.options.thinking = config.thinking == "on";
  if (!config.system.empty()) encoding.options.default_system = config.system;
  if (config.cache) encoding.cache = data::TokenCache::standard();
  encoding.tokenizer_files = language.files.path;
  const bool dialogues = std::any_of(records.begin(), records.end(), [](const auto& r) { return !is_document(r); });
  if (dialogues || records.empty()) encoding.format = chosen_chat_format(language, config.chat_template);
  return encoding;
}

data::TokenSample encode_record(const data::Tokenizer& tokenizer, const TextEncoding& encoding, const data::Record& record) {
  if (is_document(record)) return document_sample(tokenizer, record);
  GRAFT_ASSERT(encoding.format.has_value());
  auto sample = data::encode_chat(tokenizer, *encoding.format, record.turns, encoding.options);
  if (!encoding.answers_only) sample.learn.assign(sample.ids.size(), 1);
  return sample;
}

EncodedRecords encode_records(const data::Tokenizer& tokenizer, const TextEncoding& encoding, const std::vector<data::Record>& records,
                              int64_t max_length) {
  if (!encoding.cache.is_somewhere() || encoding.tokenizer_files.empty() || records.empty())
    return encode_now(tokenizer, encoding, records, max_length);
  const auto kept = encoding.cache.get(cache_key(encoding, records, max_length), [&] {
    const auto made = encode_now(tokenizer, encoding, records, max_length);
    return data::CachedTokens{made.samples, note_of(made)};
  });
  return with_note(kept.samples, kept.note);
}

std::vector<data::TokenId> encode_prompt(const data::Tokenizer& tokenizer, const TextEncoding& encoding,
                                         const std::vector<data::Message>& turns) {
  GRAFT_ASSERT(encoding.format.has_value());
  return data::encode_chat(tokenizer, *encoding.format, turns, encoding.options, data::GenerationPrompt::kAdd).ids;
}

std::vector<data::TokenId> encode_prompt(const data::Tokenizer& tokenizer, const TextEncoding& encoding, const data::Record& record,
                                         const std::vector<int>& order) {
  if (is_document(record)) return tokenizer.encode(record.text, data::SpecialText::kPlain);
  auto turns = record.turns;
  if (!turns.empty() && turns.back().role == "assistant") turns.pop_back();
  if (!record.choices.empty() && !turns.empty()) turns.back().content = data::question_prompt(record, order);
  return encode_prompt(tokenizer, encoding, turns);
}

}  // namespace graft::pipelines
