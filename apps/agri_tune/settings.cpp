#include "apps/agri_tune/settings.h"

#include <ATen/Parallel.h>

#include "data_loaders/text/chat_format.h"
#include "peft_core/base/config.h"
#include "peft_core/memory/block_cache.h"

namespace graft::apps::agri {
namespace {

const std::vector<std::string> kSections = {"base", "method", "train", "data", "run"};

void put_in_force(const RunConfig& run) {
  expect_range("run.threads", static_cast<double>(run.threads), 0, 4096);
  expect_range("run.sample_answers", static_cast<double>(run.sample_answers), 0, 1000);
  if (run.threads > 0) at::set_num_threads(static_cast<int>(run.threads));
}

}  // namespace

std::string Settings::to_yaml() const {
  return write_config(base, "base") + method->resolved(method_node) + write_config(train, "train") + write_config(data, "data") +
         write_config(run, "run");
}

Settings read_settings(const pipelines::Invocation& call) {
  expect_sections(call.config, kSections);
  Settings settings;
  settings.base = read_config<pipelines::BaseConfig>(call.config, "base");
  settings.train = read_config<pipelines::LanguageTrainConfig>(call.config, "train");
  settings.data = read_config<data::DataConfig>(call.config, "data");
  settings.run = read_config<RunConfig>(call.config, "run");
  if (const auto* node = call.config.find("method")) settings.method_node = *node;
  const auto* name = settings.method_node.find_entry("name");
  settings.method = &peft::find_method(name == nullptr ? "lora" : name->scalar);
  (void)settings.method->resolved(settings.method_node);  // unknown keys show now, not after the model is loaded
  (void)pipelines::base_storage(settings.base, at::kFloat);  // unknown values too
  if (settings.data.chat_template != "auto") (void)data::chat_format(settings.data.chat_template);  // also where the data need none
  pipelines::validate(settings.train);
  data::check(settings.data);
  put_in_force(settings.run);
  peft::use_block_cache();
  return settings;
}

std::string settings_help() {
  return config_help<pipelines::BaseConfig>("base") + config_help<pipelines::LanguageTrainConfig>("train") +
         config_help<data::DataConfig>("data") + config_help<RunConfig>("run") +
         peft::find_method("lora").resolved(ConfigNode::parse("{}", "defaults"));
}

}  // namespace graft::apps::agri
