#pragma once

#include <cstdint>
#include <string>

#include "data_loaders/text/record.h"

namespace graft::data {

/// The section `data` of a run's settings.
struct DataConfig {
  std::string format = "auto";
  std::string chat_template = "auto";
  std::string loss_on = "answers";
  std::string thinking = "off";
  std::string system;
  double bad_row_limit = 0.01;
  std::string deduplicate = "exact";
  bool drop_overlap = true;
  double eval_share = 0.0;
  bool cache = true;

  template <class V>
  void visit(V& v) {
    v("format", format, "auto, alpaca, sharegpt, openai, completion, squad, choice or text");
    v("template", chat_template,
      "chat format by name, auto (from the model's files) or plain (adds nothing but the end token)");
    v("loss_on", loss_on, "answers: learn the assistant's turns only; all: learn every token");
    v("thinking", thinking, "for models that think before they answer: on or off");
    v("system", system, "system text for dialogues that have none");
    v("bad_row_limit", bad_row_limit, "share of bad rows in a file above which the run stops; 0 allows none");
    v("deduplicate", deduplicate, "drop repeated training rows: off, exact or near");
    v("drop_overlap", drop_overlap, "drop training rows that hold an evaluation question");
    v("eval_share", eval_share, "share of the data held out by source document where no --eval-data is given");
    v("cache", cache, "keep tokenised data in $GRAFT_CACHE (default: $XDG_CACHE_HOME/graft or ~/.cache/graft) for the next run");
  }
};

/// Throws InvalidArgument that names the key, e.g. [data.loss_on].
void check(const DataConfig& config);

}  // namespace graft::data
