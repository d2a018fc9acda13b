#pragma once

#include <string>

#include "apps/cloud_clip/folder_config.h"
#include "data_loaders/cloud/preparation.h"
#include "peft_core/methods/method.h"
#include "pipelines/base_config.h"
#include "pipelines/cli/invocation.h"
#include "pipelines/cloud/adaptation_config.h"
#include "pipelines/train_config.h"

namespace graft::apps::cloud {

struct RunConfig {
  int64_t threads = 0;
  bool augment = true, balance = true;
  double scanned = 0;
  bool rollback = true;

  template <class V>
  void visit(V& v) {
    v("threads", threads, "processor threads; 0: all that the machine has");
    v("augment", augment, "turn clouds about the vertical and move their points a little while training");
    v("scanned", scanned, "share of the source's clouds that are seen as a sensor sees them while training: sparse, noisy, partly hidden");
    v("balance", balance, "show every class of the source equally often");
    v("rollback", rollback, "adapt: keep the start if the target's mean entropy has risen");
  }
};

/// All settings of train and adapt: the sections base, cloud, method, loss, train, data, target, input and run.
struct AdaptationSettings {
  pipelines::BaseConfig base;
  pipelines::CloudConfig cloud;
  pipelines::LossConfig loss;
  pipelines::TrainConfig train;
  FolderConfig data, target;
  data::PreparationSettings preparation;
  RunConfig run;
  const peft::MethodSpec* method = nullptr;  ///< null where cloud.towers is none
  ConfigNode method_node;

  std::string to_yaml() const;
};

/// Reads and checks everything, and puts run.threads in force. Throws InvalidArgument for unknown sections, keys and values.
AdaptationSettings read_adaptation_settings(const pipelines::Invocation& call);

/// Keys and defaults of all sections for --help of adapt, or of train, which has no target.
std::string adaptation_settings_help(bool has_target);

}  // namespace graft::apps::cloud
