#pragma once

#include <string>

#include "data_loaders/text/data_config.h"
#include "peft_core/methods/method.h"
#include "pipelines/cli/invocation.h"
#include "pipelines/base_config.h"
#include "pipelines/language/language_train_config.h"

namespace graft::apps::agri {

struct RunConfig {
  int64_t threads = 0;
  int64_t sample_answers = 16;

  template <class V>
  void visit(V& v) {
    v("threads", threads, "processor threads; 0: all that the machine has");
    v("sample_answers", sample_answers, "held-out questions that the report of a training run shows answered before and after it; 0: none");
  }
};

/// All settings of a call: the sections base, method, train, data and run.
struct Settings {
  pipelines::BaseConfig base;
  pipelines::LanguageTrainConfig train;
  data::DataConfig data;
  RunConfig run;
  const peft::MethodSpec* method = nullptr;
  ConfigNode method_node;

  /// The resolved configuration, all keys and defaults.
  std::string to_yaml() const;
};

/// Reads and checks everything, and puts run.threads in force. Throws InvalidArgument for unknown sections, keys and values.
Settings read_settings(const pipelines::Invocation& call);

/// Keys and defaults of all sections for --help.
std::string settings_help();

}  // namespace graft::apps::agri
