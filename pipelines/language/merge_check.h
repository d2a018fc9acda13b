#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "peft_core/checkpoint/merged_weights.h"
#include "pipelines/language/language_model.h"

namespace graft::pipelines {

/// A model with its adapter at work and not yet folded in, computing in fp32 from the weights as the file has them.
struct UnmergedModel {
  LanguageModel language;                     ///< without a tokenizer
  std::optional<peft::AdapterFiles> adapter;  ///< none: the base alone, or a mixture
  std::string method;                         ///< of the adapter; "mixture" for several
};

/// `adapter` may be empty, or a mixture, whose weighted sum is then at work. Throws what load_base_model and attach_adapter throw, and InvalidArgument for a method that cannot be merged.
UnmergedModel load_unmerged(const std::filesystem::path& model, const std::filesystem::path& adapter, BaseConfig config);

/// Token sequences on which two forms of a model are compared, the same for all models of one vocabulary size.
std::vector<std::vector<int32_t>> probe_sequences(int64_t vocabulary);

/// fp32 logits of the probe sequences, (T, V) each.
std::vector<at::Tensor> probe_logits(const peft::CausalLm& model);

struct LogitDifference {
  double largest = 0;          ///< max |written − exact|
  double mean = 0;             ///< mean |written − exact|
  double largest_logit = 0;    ///< max |exact|, for scale
  double same_best_token = 1;  ///< share of places where both prefer the same token
  int64_t places = 0;
};

LogitDifference logit_difference(const std::vector<at::Tensor>& exact, const std::vector<at::Tensor>& written);

/// Opens what was written the way a user would, runs it in fp32, and compares.
LogitDifference difference_of_written(const std::filesystem::path& written, const std::vector<at::Tensor>& exact);

/// max_logit_difference, mean_logit_difference, ..., max_weight_error, relative_weight_error and one entry a layer.
nlohmann::ordered_json error_report(const LogitDifference& logits, const std::vector<peft::TensorRounding>& weights);
/// The same for a person, one line.
std::string error_line(const LogitDifference& logits, const std::vector<peft::TensorRounding>& weights);

}  // namespace graft::pipelines
