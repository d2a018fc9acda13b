#include "pipelines/language/evaluation.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/log.h"
#include "pipelines/language/language_task.h"
#include "pipelines/metrics/answer_scores.h"
#include "pipelines/metrics/choice_parser.h"
#include "pipelines/metrics/choice_scores.h"
#include "pipelines/metrics/statistics.h"

namespace graft::pipelines {
namespace {

using data::Record;
using Json = nlohmann::ordered_json;

constexpr int64_t kBatchTokens = 2048;

Json interval_json(const Interval& interval) { return {interval.low, interval.high}; }

std::string id_of(const Record& record) { return record.id.empty() ? data::place_of(record) : record.id; }

std::vector<std::string> gold_answers(const Record& record) {
  return record.answers.empty() ? std::vector<std::string>{std::string(data::answer_of(record))} : record.answers;
}

/// What the model is told for one item.
peft::ForwardContext context_of(const EvaluationOptions& options, const Record& record) {
  if (!options.adapters) return {};
  return {.adapters = peft::AdapterChoice::for_all(options.adapters(record))};
}

std::vector<peft::AdapterWeights> adapters_of(const EvaluationOptions& options, const std::vector<Record>& records) {
  std::vector<peft::AdapterWeights> all;
  if (!options.adapters) return all;
  for (const auto& record : records) all.push_back(options.adapters(record));
  return all;
}

/// Mean log p of `answer` after the prompt, per option token.
double mean_log_likelihood(const LanguageModel& language, const std::vector<data::TokenId>& prompt, const std::string& answer,
                           const peft::ForwardContext& context) {
  data::TokenSample sample{.ids = prompt, .learn = std::vector<uint8_t>(prompt.size(), 0)};
  for (const auto id : language.tokenizer->encode(answer, data::SpecialText::kPlain)) sample.ids.push_back(id), sample.learn.push_back(1);
  const auto sum = held_out_nll(*language.model, data::TokenSet({sample}), kBatchTokens, context);
  return sum.targets == 0 ? -INFINITY : -sum.nats / static_cast<double>(sum.targets);
}

/// The letter whose option text is likeliest after the question without the list of options.
std::string likeliest_option(const LanguageModel& language, const TextEncoding& encoding, const Record& record,
                             const peft::ForwardContext& context) {
  auto question = record;
  question.choices.clear();
  auto turns = record.turns;
  if (turns.back().role == "assistant") turns.pop_back();
  turns.back().content = data::question_prompt(question);
  const auto prompt = encode_prompt(*language.tokenizer, encoding, turns);
  size_t best = 0;
  double best_score = -INFINITY;
  for (size_t i = 0; i < record.choices.size(); ++i)
    if (const double score = mean_log_likelihood(language, prompt, record.choices[i], context); score > best_score)
      best = i, best_score = score;
  return std::string(1, static_cast<char>('A' + best));
}

std::vector<Record> with_choices(const std::vector<Record>& records) {
  std::vector<Record> chosen;
  for (const auto& record : records)
    if (!record.choices.empty() && !record.gold.empty() && !record.turns.empty()) chosen.push_back(record);
  if (chosen.empty())
    throw InvalidArgument({.where = "--task choice", .what = "the data holds no multiple-choice items",
                           .expected = "rows with question, choices and answer"});
  return chosen;
}

Json tally_json(const ChoiceTally& tally) {
  return {{"items", tally.items()}, {"accuracy", tally.accuracy()}, {"interval_95", interval_json(tally.interval())},
          {"unparseable", tally.unparseable()}};
}

Json score_json(const std::vector<double>& values) {
  return {{"mean", mean(values)}, {"interval_95", interval_json(bootstrap_interval(values))}};
}

}  // namespace

Evaluation::Evaluation() : summary_(std::make_unique<Json>(Json::object())), predictions_(std::make_unique<std::vector<Json>>()) {}
Evaluation::~Evaluation() = default;
Evaluation::Evaluation(Evaluation&&) noexcept = default;
Evaluation& Evaluation::operator=(Evaluation&&) noexcept = default;

std::vector<std::string> greedy_texts(const LanguageModel& language, const TextEncoding& encoding,
                                      const std::vector<std::vector<data::TokenId>>& prompts, const EvaluationOptions& options,
                                      const std::vector<peft::AdapterWeights>& adapters) {
  std::vector<std::string> texts;
  const auto stop = encoding.format ? data::stop_tokens(*language.tokenizer, *encoding.format) : std::vector<data::TokenId>{};
  for (size_t begin = 0; begin < prompts.size(); begin += static_cast<size_t>(options.batch_size)) {
    const auto end = std::min(prompts.size(), begin + static_cast<size_t>(options.batch_size));
    const std::vector<std::vector<data::TokenId>> group(prompts.begin() + static_cast<long>(begin), prompts.begin() + static_cast<long>(end));
    SamplingOptions sampling{.max_new_tokens = options.max_new_tokens, .vocabulary = language.tokenizer->vocabulary_size()};
    if (!adapters.empty()) sampling.adapters.assign(adapters.begin() + static_cast<long>(begin), adapters.begin() + static_cast<long>(end));
    for (const auto& ids : generate(*language.model, group, stop, sampling))
      texts.push_back(language.tokenizer->decode(ids, /*skip_special=*/true));
  }
  return texts;
}

Evaluation evaluate_perplexity(const LanguageModel& language, const TextEncoding& encoding, const std::vector<Record>& records,
                               const EvaluationOptions& options) {
  Evaluation result;
  NllSum all;
  const auto encoded = encode_records(*language.tokenizer, encoding, records, options.max_length);
  int64_t next = 0;
  for (size_t i = 0; i < records.size(); ++i) {
    const auto samples = data::part_of(encoded.samples, next, encoded.samples_of[i]);
    next += encoded.samples_of[i];
    if (samples.size() == 0) continue;
    const auto sum = held_out_nll(*language.model, samples, kBatchTokens, context_of(options, records[i]));
    if (sum.targets == 0) continue;
    all.nats += sum.nats, all.targets += sum.targets;
    result.predictions().push_back({{"id", id_of(records[i])}, {"loss", sum.nats / static_cast<double>(sum.targets)}, {"tokens", sum.targets}});
  }
  result.summary() = {{"task", "perplexity"}, {"items", result.predictions().size()}, {"tokens", all.targets},
                      {"loss", all.nats / static_cast<double>(std::max<int64_t>(1, all.targets))},
                      {"perplexity", perplexity(all.nats, all.targets)}};
  return result;
}

Evaluation evaluate_choice(const LanguageModel& language, const TextEncoding& encoding, const std::vector<Record>& records,
                           const EvaluationOptions& options) {
  const auto items = with_choices(records);
  std::vector<std::vector<data::TokenId>> prompts, shuffled_prompts;
  std::vector<std::vector<int>> orders;
  for (size_t i = 0; i < items.size(); ++i) {
    orders.push_back(shuffled_option_order(items[i].choices.size(), options.seed, i));
    prompts.push_back(encode_prompt(*language.tokenizer, encoding, items[i]));
    shuffled_prompts.push_back(encode_prompt(*language.tokenizer, encoding, items[i], orders.back()));
  }
  const auto texts = greedy_texts(language, encoding, prompts, options, adapters_of(options, items));
  const auto shuffled_texts = greedy_texts(language, encoding, shuffled_prompts, options, adapters_of(options, items));

  Evaluation result;
  ChoiceTally by_letter, by_letter_shuffled, by_likelihood;
  std::vector<std::optional<std::string>> first, second;
  for (size_t i = 0; i < items.size(); ++i) {
    const auto& item = items[i];
    first.push_back(parse_choice(texts[i], item.choices.size(), item.choices));
    auto shuffled = parse_choice(shuffled_texts[i], item.choices.size());
    second.push_back(shuffled ? std::optional(letters_in_file(*shuffled, orders[i])) : std::nullopt);
    const bool right = by_letter.add(first.back(), item.gold);
    by_letter_shuffled.add(second.back(), item.gold);
    Json line = {{"id", id_of(item)}, {"gold", item.gold}, {"generated", texts[i]}, {"letters", first.back().value_or("")},
                 {"correct", right}, {"letters_shuffled", second.back().value_or("")}};
    if (item.gold.size() == 1) {
      line["likeliest"] = likeliest_option(language, encoding, item, context_of(options, item));
      by_likelihood.add(line["likeliest"].get<std::string>(), item.gold);
    }
    result.predictions().push_back(std::move(line));
  }
  result.summary() = {{"task", "choice"}, {"items", items.size()}, {"accuracy", by_letter.accuracy()},
                      {"by_letter", tally_json(by_letter)}, {"by_letter_shuffled", tally_json(by_letter_shuffled)},
                      {"consistency", order_consistency(first, second)}, {"by_likelihood", tally_json(by_likelihood)}};
  return result;
}

Evaluation evaluate_answers(const LanguageModel& language, const TextEncoding& encoding, const std::vector<Record>& records,
                            const EvaluationOptions& options) {
  std::vector<std::vector<data::TokenId>> prompts;
  for (const auto& record : records) prompts.push_back(encode_prompt(*language.tokenizer, encoding, record));
  const auto texts = greedy_texts(language, encoding, prompts, options, adapters_of(options, records));

  Evaluation result;
  std::vector<double> exact, f1, rouge;
  for (size_t i = 0; i < records.size(); ++i) {
    const auto gold = gold_answers(records[i]);
    const auto answer = std::string(without_thinking(texts[i]));
    exact.push_back(exact_match(answer, gold));
    f1.push_back(token_f1(answer, gold));
    rouge.push_back(rouge_l(answer, gold));
    result.predictions().push_back({{"id", id_of(records[i])}, {"question", data::question_of(records[i])}, {"gold", gold},
                                    {"answer", answer}, {"exact_match", exact.back()}, {"f1", f1.back()}, {"rouge_l", rouge.back()}});
  }
  if (records.empty()) throw InvalidArgument({.where = "--data", .what = "holds no item to answer"});
  result.summary() = {{"task", "answer"}, {"items", records.size()}, {"exact_match", score_json(exact)}, {"f1", score_json(f1)},
                      {"rouge_l", score_json(rouge)}};
  return result;
}

}  // namespace graft::pipelines
