#include <nlohmann/json.hpp>

#include "apps/agri_tune/chosen_adapters.h"
#include "apps/agri_tune/commands.h"
#include "apps/agri_tune/settings.h"
#include "data_loaders/text/tokenize_lines.h"
#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "peft_core/checkpoint/tensor_bytes.h"
#include "pipelines/device.h"
#include "pipelines/language/language_model.h"
#include "pipelines/language/training_plan.h"
#include "pipelines/progress_line.h"

namespace graft::apps::agri {
namespace {

using namespace pipelines;
using Json = nlohmann::ordered_json;

void list_methods(std::ostream& out) {
  for (const auto& method : peft::builtin_methods())
    out << to_json_line({{"name", method.name}, {"paper", method.paper}, {"use_when", method.use_when},
                         {"trainable_parameters", method.parameters}, {"identity_at_start", method.traits.identity_at_start},
                         {"mergeable", method.traits.mergeable}, {"exact_gradient", method.traits.exact_gradient},
                         {"needs_calibration", method.traits.needs_calibration}})
        << "\n";
}

std::vector<std::vector<data::TokenId>> read_id_lists(const std::string& file) {
  const auto lists = read_json_file(file);
  const auto refuse = [&](const std::string& got) {
    throw InvalidArgument({.where = file, .what = "is not what --logits reads", .expected = "a JSON list of lists of token ids", .got = got});
  };
  if (!lists.is_array()) refuse(lists.type_name());
  std::vector<std::vector<data::TokenId>> all;
  for (const auto& list : lists) {
    if (!list.is_array()) refuse("an entry that is a " + std::string(list.type_name()));
    auto& ids = all.emplace_back();
    for (const auto& id : list) {
      if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<data::TokenId>::max()) refuse("the id " + id.dump());
      ids.push_back(id.get<data::TokenId>());
    }
  }
  return all;
}

/// logits.0, logits.1, ... (T, V) fp32, one for each list of ids.
void write_logits(const LanguageModel& language, const Invocation& call) {
  if (call.out_dir.empty()) throw InvalidArgument({.where = "--out", .what = "is missing", .hint = "name the .safetensors file to write"});
  at::NoGradGuard no_gradient;
  std::map<std::string, at::Tensor> tensors;
  for (const auto& ids : read_id_lists(call.logits)) {
    if (ids.empty()) throw InvalidArgument({.where = call.logits, .what = "holds an empty list of ids"});
    const std::vector<int32_t> lengths{static_cast<int32_t>(ids.size())};
    const auto hidden = language.model->hidden_states(peft::TokenStream::of(ids, lengths), {});
    tensors["logits." + std::to_string(tensors.size())] = language.model->logits(hidden);
  }
  peft::write_tensors(call.out_dir, tensors, {{"base_fingerprint", language.files.fingerprint}});
}

Json shape_of(const LanguageModel& language) {
  const auto& c = language.model->config();
  return {{"model_type", c.model_type}, {"layers", c.layers}, {"hidden_size", c.hidden_size}, {"heads", c.heads},
          {"key_value_heads", c.key_value_heads}, {"head_size", c.head_size}, {"intermediate_size", c.intermediate_size},
          {"vocabulary", c.vocabulary}, {"max_positions", c.max_positions}, {"tied_head", c.tied_head},
          {"rope_theta", c.rope_theta}};
}

Json matrices_of(const LanguageModel& language) {
  Json rows = Json::array();
  for (const auto& [name, matrix] : language.model->frozen_matrices())
    rows.push_back({{"name", name}, {"shape", {matrix->out_features(), matrix->in_features()}}, {"storage", matrix->storage()},
                    {"bytes", matrix->bytes()}});
  return rows;
}

void describe(const LanguageModel& language, const Settings& settings, std::ostream& out) {
  auto demand = memory_demand(language, settings.train.batch_size * settings.train.max_length);
  const auto second_copy = demand.second_packing;
  if (!second_packing_wanted(settings.train.second_packing, demand.tokens)) demand.second_packing = 0;
  const auto plan = peft::plan_memory(demand);
  Json plan_json = {{"weights", plan.weights}, {"second_copy", plan.second_copy}, {"adapters", plan.adapters}, {"optimizer", plan.optimizer},
                    {"activations", plan.activations}, {"head", plan.head}, {"scratch", plan.scratch}, {"program", plan.program},
                    {"total", plan.total()}};
  Json description = {{"model", language.files.path.string()}, {"fingerprint", language.files.fingerprint},
                      {"shape", shape_of(language)}, {"parameters", base_parameter_count(*language.model)}};
  if (language.attachment != nullptr) description["trainable_parameters"] = trainable_parameter_count(*language.attachment);
  description["memory_plan_bytes"] = std::move(plan_json);
  description["second_copy_bytes"] = second_copy;  // what train.second_packing costs, made or not
  description["matrices"] = matrices_of(language);
  out << description.dump(2) << "\n";
}

}  // namespace

void inspect(const Invocation& call) {
  if (call.list_methods) return list_methods(*call.out);
  if (!call.tokenize.empty()) {
    const auto tokenizer = data::load_tokenizer(call.model);
    return data::tokenize_lines(*tokenizer, MappedFile::open(call.tokenize)->text(), *call.out);
  }
  const auto device = device_for(call.kernels);
  auto settings = read_settings(call);
  // Logits are asked for to compare with another program's, so speed does not choose their precision.
  if (!call.logits.empty() && settings.base.compute == "auto") settings.base.compute = "fp32";
  auto language = load_base_model(call.model, settings.base);
  load_chosen_adapters(language, call, settings);
  if (call.logits.empty() && language.attachment == nullptr)
    language.attachment = settings.method->attach(language.model->places(), settings.method_node,
                                                  peft::AttachContext(0, nullptr, /*from_file=*/true));
  language.move_to(device);
  if (!call.logits.empty()) return write_logits(language, call);
  describe(language, settings, *call.out);
}

}  // namespace graft::apps::agri
