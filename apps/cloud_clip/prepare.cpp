#include <nlohmann/json.hpp>

#include "apps/cloud_clip/cloud_input.h"
#include "apps/cloud_clip/commands.h"
#include "apps/cloud_clip/prepared_folder.h"
#include "apps/cloud_clip/scene_objects.h"
#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "peft_core/checkpoint/staged_folder.h"

namespace graft::apps::cloud {

using namespace pipelines;
using Json = nlohmann::ordered_json;

namespace {

/// What is to be prepared: a data folder with its classes, or any clouds.
struct Source {
  std::vector<std::string> classes;
  std::vector<int64_t> labels;  ///< one for each cloud, or none at all
  CloudInput clouds;
};

Source open_source(const Invocation& call, const ZeroShotSettings& settings) {
  const auto seed = static_cast<uint64_t>(settings.run.seed);
  if (call.data.empty()) return {{}, {}, CloudInput(call.input, settings.input, seed)};
  if (settings.scene.objects)
    throw InvalidArgument({.where = "scene.objects", .what = "cuts files of unknown content; the files of --data are objects already", .hint = "name the scenes with --input"});
  auto all = data::labelled_clouds(call.data.front(), settings.data.choice());
  return {std::move(all.classes), std::move(all.labels), CloudInput(std::move(all.files), settings.input, seed)};
}

Json table_of(const CloudInput& input) {
  auto rows = Json::array();
  for (const auto& line : input.lines()) {
    Json row = {{"file", line.file}};
    if (line.reason.empty()) {
      row.update({{"points", line.points}, {"dropped", line.dropped}, {"up", line.up}, {"notes", line.notes}});
    } else {
      row["reason"] = line.reason;
    }
    rows.push_back(row);
  }
  return rows;
}

}  // namespace

void prepare(const Invocation& call) {
  const auto settings = read_zero_shot_settings(call);
  auto source = open_source(call, settings);
  peft::StagedFolder folder(call.out_dir);
  PreparedFolder prepared(folder.path(), source.classes);
  for (int64_t i = 0; i < source.clouds.size(); ++i) {
    auto cloud = source.clouds.read(i);
    if (!cloud) continue;
    if (settings.scene.objects) {
      for (auto& object : objects_of(*cloud, settings.scene).objects) prepared.add(std::move(object), -1);
    } else {
      prepared.add(std::move(*cloud), source.labels.empty() ? -1 : source.labels[static_cast<size_t>(i)]);
    }
  }
  source.clouds.expect_some();
  prepared.finish();
  write_json_file(folder.path() / "prepared.json", {{"settings", settings.to_yaml()}, {"read", table_of(source.clouds)}});
  folder.commit();
  *call.out << to_json_line({{"out", call.out_dir}, {"clouds", prepared.count()}, {"points", prepared.points()},
                             {"skipped", source.clouds.skipped()}, {"classes", source.classes}}) << "\n";
}

}  // namespace graft::apps::cloud
