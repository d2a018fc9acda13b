#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "pipelines/language/generation.h"
#include "pipelines/language/text_samples.h"

namespace graft::pipelines {

/// Scores of one evaluation and what was said to each item; `eval` writes them as summary.json and predictions.jsonl.
struct Evaluation {
  Evaluation();
  ~Evaluation();
  Evaluation(Evaluation&&) noexcept;
  Evaluation& operator=(Evaluation&&) noexcept;

  nlohmann::ordered_json& summary() { return *summary_; }
  const nlohmann::ordered_json& summary() const { return *summary_; }
  std::vector<nlohmann::ordered_json>& predictions() { return *predictions_; }
  const std::vector<nlohmann::ordered_json>& predictions() const { return *predictions_; }

 private:
  std::unique_ptr<nlohmann::ordered_json> summary_;
  std::unique_ptr<std::vector<nlohmann::ordered_json>> predictions_;
};

struct EvaluationOptions {
  int64_t max_length = 2048;
  int64_t max_new_tokens = 128;
  int64_t batch_size = 16;   ///< prompts that are continued together
  uint64_t seed = 42;        ///< of the shuffled option order
  /// Which of several adapters work on an item (see row_adapters.h); none: as the model has them.
  std::function<peft::AdapterWeights(const data::Record&)> adapters = {};
};

/// Mean −log p of the learnt tokens (see TextEncoding) and its exponential, per item and over all.
Evaluation evaluate_perplexity(const LanguageModel& language, const TextEncoding& encoding, const std::vector<data::Record>& records,
                               const EvaluationOptions& options);

/// Multiple choice, twice. By likelihood: the option whose text has the highest mean log-likelihood after the question alone
/// (items with one right answer). By letter: the generated answer's letters, in the file's order and in a shuffled one, with the
/// share of items for which both name the same content.
Evaluation evaluate_choice(const LanguageModel& language, const TextEncoding& encoding, const std::vector<data::Record>& records,
                           const EvaluationOptions& options);

/// Greedy answers against gold ones: SQuAD exact match and token F1, ROUGE-L, each with a bootstrap interval.
Evaluation evaluate_answers(const LanguageModel& language, const TextEncoding& encoding, const std::vector<data::Record>& records,
                            const EvaluationOptions& options);

/// Greedy texts for prompts, `batch_size` at a time. `adapters`: those of each prompt, or none.
std::vector<std::string> greedy_texts(const LanguageModel& language, const TextEncoding& encoding,
                                      const std::vector<std::vector<data::TokenId>>& prompts, const EvaluationOptions& options,
                                      const std::vector<peft::AdapterWeights>& adapters = {});

}  // namespace graft::pipelines
