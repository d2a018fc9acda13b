#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/agri_tune/commands.h"
#include "apps/agri_tune/settings.h"
#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "peft_core/base/log.h"
#include "peft_core/checkpoint/low_rank_files.h"
#include "peft_core/checkpoint/staged_folder.h"
#include "peft_core/operations/low_rank_conversion.h"
#include "pipelines/language/language_model.h"

namespace graft::apps::agri {

using namespace pipelines;

void convert(const Invocation& call) {
  const auto settings = read_settings(call);
  const auto files = peft::read_adapter(call.adapter);
  if (!files.method->traits.mergeable)
    throw InvalidArgument({.where = call.adapter, .what = "an adapter of method '" + files.method->name + "' changes no weight, so no LoRA can stand for it"});
  peft::StagedFolder folder(call.out_dir);
  auto language = load_base_model(call.model, settings.base);
  auto& places = language.model->places();
  const auto conversion = peft::convert_to_low_rank(places, *call.rank, [&] {
    return peft::attach_adapter(files, places, language.files.fingerprint, settings.base.accept_other, call.adapter);
  });
  peft::write_low_rank(folder.path(), conversion.updates(), {}, {.base_model = call.model, .base_fingerprint = language.files.fingerprint});
  folder.commit();
  char missed[32];
  std::snprintf(missed, sizeof missed, "%.2g", conversion.relative_error());
  log_info(call.out_dir + ": LoRA of rank " + std::to_string(*call.rank) + " for " + std::to_string(conversion.layers.size()) + " layers; it misses " +
           missed + " of the update (relative Frobenius error)");
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const auto& layer : conversion.layers)
    layers.push_back({{"name", layer.layer}, {"rank", layer.update.a.size(0)}, {"relative_error", layer.relative_error()}});
  const nlohmann::ordered_json report = {{"out", call.out_dir}, {"method", files.method->name}, {"rank", *call.rank},
                                         {"relative_error", conversion.relative_error()}, {"layers", layers}};
  *call.out << to_json_line(report) << "\n";
}

}  // namespace graft::apps::agri
