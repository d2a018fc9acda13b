#include <algorithm>

#include "apps/cloud_clip/adaptation_run.h"
#include "apps/cloud_clip/commands.h"
#include "peft_core/base/rng.h"

namespace graft::apps::cloud {
namespace {

/// As many of the target's clouds as the source has, at most; which ones, the seed decides: their classes are not known.
std::vector<data::CloudFile> drawn(std::vector<data::CloudFile> all, int64_t count, uint64_t seed) {
  if (static_cast<int64_t>(all.size()) <= count) return all;
  auto order = shuffled_indices(static_cast<int64_t>(all.size()), RandomStream(seed, "target clouds"));
  order.resize(static_cast<size_t>(count));
  std::sort(order.begin(), order.end());
  std::vector<data::CloudFile> chosen;
  for (const auto index : order) chosen.push_back(all[static_cast<size_t>(index)]);
  return chosen;
}

}  // namespace

void adapt(const pipelines::Invocation& call) {
  auto settings = read_adaptation_settings(call);
  const auto seed = static_cast<uint64_t>(settings.train.seed);
  auto listed = data::labelled_clouds(call.source, settings.data.choice());
  auto target = data::unlabelled_clouds(call.target, settings.target.choice());
  if (call.shots) {
    listed = data::draw_shots(listed, *call.shots, seed);
    target = drawn(std::move(target), *call.shots * static_cast<int64_t>(listed.classes.size()), seed);
  }
  AdaptationData data;
  data.source = pipelines::read_clouds(listed, settings.preparation, seed);
  data.target = pipelines::read_clouds(target, settings.preparation, seed);
  data.files = data::paths_of(listed.files);
  for (auto& path : data::paths_of(target)) data.files.push_back(std::move(path));
  run_adaptation(call, std::move(settings), std::move(data));
}

}  // namespace graft::apps::cloud
