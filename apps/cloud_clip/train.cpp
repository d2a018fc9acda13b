#include "apps/cloud_clip/adaptation_run.h"
#include "apps/cloud_clip/commands.h"
#include "kernels/base/error.h"

namespace graft::apps::cloud {

void train(const pipelines::Invocation& call) {
  auto settings = read_adaptation_settings(call);
  const auto seed = static_cast<uint64_t>(settings.train.seed);
  if (call.data.size() != 1) throw InvalidArgument({.where = "--data", .what = "names not one folder", .got = std::to_string(call.data.size())});
  auto listed = data::labelled_clouds(call.data[0], settings.data.choice());
  if (call.shots) listed = data::draw_shots(listed, *call.shots, seed);
  AdaptationData data;
  data.source = pipelines::read_clouds(listed, settings.preparation, seed);
  data.files = data::paths_of(listed.files);
  if (!call.eval_data.empty()) {
    auto choice = settings.target.choice();
    choice.classes = data.source.classes;
    data.held_out = pipelines::read_clouds(data::labelled_clouds(call.eval_data, choice), settings.preparation, seed);
  }
  run_adaptation(call, std::move(settings), std::move(data));
}

}  // namespace graft::apps::cloud
