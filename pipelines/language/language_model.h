#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data_loaders/text/chat_format.h"
#include "data_loaders/text/tokenizer.h"
#include "peft_core/backbones/causal_lm.h"
#include "peft_core/checkpoint/adapter_files.h"
#include "peft_core/checkpoint/mixture_files.h"
#include "peft_core/checkpoint/model_files.h"
#include "pipelines/base_config.h"

namespace graft::pipelines {

/// A language model in memory with its tokenizer and, perhaps, an adapter at work on it.
struct LanguageModel {
  peft::ModelFiles files;
  std::unique_ptr<peft::CausalLm> model;
  std::shared_ptr<const data::Tokenizer> tokenizer;  ///< none after load_base_model
  std::unique_ptr<peft::Attachment> attachment;  ///< none: the base alone
  const peft::AdapterMixture* mixture = nullptr; ///< the attachment where it holds several adapters
  std::string adapter_unknown_keys;              ///< of the adapter that was loaded

  /// Model and adapter, if there is one by now.
  void move_to(at::Device device);
};

/// Loads the weights alone, for work on token ids. Throws what open_model throws.
LanguageModel load_base_model(const std::filesystem::path& path, const BaseConfig& config);

/// Loads weights and tokenizer. Throws what open_model and load_tokenizer throw, and InvalidArgument for a tokenizer whose ids reach beyond
/// the model's vocabulary.
LanguageModel load_language_model(const std::filesystem::path& path, const BaseConfig& config);

/// Attaches the adapter of a run or PEFT folder, or all of a mixture's folder.
void load_adapter(LanguageModel& language, const std::filesystem::path& folder, const BaseConfig& config);
/// Attaches several adapters.
void load_adapters(LanguageModel& language, const std::vector<peft::MixturePart>& parts, const BaseConfig& config);

/// The chat format by name, or "auto": the one of the model's own files.
data::ChatFormat chosen_chat_format(const LanguageModel& language, const std::string& name);

int64_t trainable_parameter_count(const peft::Attachment& attachment);
int64_t base_parameter_count(const peft::CausalLm& model);

}  // namespace graft::pipelines
