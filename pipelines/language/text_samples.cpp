#include "pipelines/language/text_samples.h"

#include <algorithm>

#include "kernels/base/error.h"

namespace graft::pipelines {
namespace {

bool is_document(const data::Record& record) { return record.turns.empty(); }

data::TokenSample document_sample(const data::Tokenizer& tokenizer, const data::Record& record) {
  data::TokenSample sample{.ids = tokenizer.encode(record.text, data::SpecialText::kPlain), .learn = {}};
  if (const auto end = tokenizer.specials().eos) sample.ids.push_back(*end);
  sample.learn.assign(sample.ids.size(), 1);
  return sample;
}

}  // namespace

TextEncoding TextEncoding::of(const LanguageModel& language, const data::DataConfig& config,
                              const std::vector<data::Record>& records) {
  TextEncoding encoding;
  encoding.answers_only = config.loss_on == "answers";
  encoding.options.thinking = config.thinking == "on";
  if (!config.system.empty()) encoding.options.default_system = config.system;
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

data::TokenSet encode_records(const data::Tokenizer& tokenizer, const TextEncoding& encoding,
                              const std::vector<data::Record>& records, int64_t max_length, data::FitReport* report) {
  std::vector<data::TokenSample> dialogues, documents;
  for (const auto& record : records)
    (is_document(record) ? documents : dialogues).push_back(encode_record(tokenizer, encoding, record));
  data::FitReport cut, split;
  auto samples = data::fit_to_length(std::move(dialogues), max_length, data::LongSample::kTruncate, &cut);
  auto pieces = data::fit_to_length(std::move(documents), max_length, data::LongSample::kSplit, &split);
  std::move(pieces.begin(), pieces.end(), std::back_inserter(samples));
  if (report != nullptr)
    *report = {.samples = cut.samples + split.samples, .truncated = cut.truncated, .split = split.split, .pieces = split.pieces,
               .dropped = cut.dropped + split.dropped, .lost_tokens = cut.lost_tokens + split.lost_tokens};
  return data::TokenSet(samples);
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
