#include "pipelines/language/language_model.h"

#include "kernels/base/error.h"

namespace graft::pipelines {

void LanguageModel::move_to(at::Device device) {
  model->move_to(device);
  if (attachment != nullptr) attachment->move_to(device);
}

LanguageModel load_base_model(const std::filesystem::path& path, const BaseConfig& config) {
  LanguageModel language;
  language.files = peft::open_model(path);
  const auto storage = base_storage(config, language.files.weights->stored_dtype());
  language.model = std::make_unique<peft::CausalLm>(language.files.config, *language.files.weights, storage);
  return language;
}

LanguageModel load_language_model(const std::filesystem::path& path, const BaseConfig& config) {
  auto language = load_base_model(path, config);
  language.tokenizer = data::load_tokenizer(path);
  if (language.tokenizer->vocabulary_size() > language.files.config.vocabulary)
    throw InvalidArgument({.where = path.string(), .what = "the tokenizer has ids beyond the model's vocabulary",
                           .expected = "ids below " + std::to_string(language.files.config.vocabulary),
                           .got = "id " + std::to_string(language.tokenizer->vocabulary_size() - 1),
                           .hint = "take the tokenizer that belongs to these weights"});
  return language;
}

void load_adapter(LanguageModel& language, const std::filesystem::path& folder, const BaseConfig& config) {
  if (peft::is_mixture(folder)) return load_adapters(language, peft::read_mixture(folder), config);
  const auto files = peft::read_adapter(folder);
  language.attachment = peft::attach_adapter(files, language.model->places(), language.files.fingerprint, config.accept_other,
                                             folder.string());
  language.adapter_unknown_keys = files.unknown_keys;
}

void load_adapters(LanguageModel& language, const std::vector<peft::MixturePart>& parts, const BaseConfig& config) {
  auto mixture = peft::attach_mixture(parts, language.model->places(), language.files.fingerprint, config.accept_other);
  language.mixture = mixture.get();
  language.attachment = std::move(mixture);
}

data::ChatFormat chosen_chat_format(const LanguageModel& language, const std::string& name) {
  return name == "auto" ? data::recognise_chat_format(*language.tokenizer) : data::chat_format(name);
}

int64_t trainable_parameter_count(const peft::Attachment& attachment) {
  int64_t count = 0;
  for (const auto& group : attachment.trainable())
    for (const auto& [name, tensor] : group.parameters) count += tensor.numel();
  return count;
}

int64_t base_parameter_count(const peft::CausalLm& model) {
  int64_t count = 0;
  for (const auto& [name, matrix] : model.frozen_matrices()) count += matrix->out_features() * matrix->in_features();
  for (const auto& slot : model.places().parameters) count += slot.tensor->numel();
  return count;
}

}  // namespace graft::pipelines
