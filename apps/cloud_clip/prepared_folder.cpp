#include "apps/cloud_clip/prepared_folder.h"

#include "apps/cloud_clip/predictions.h"
#include "peft_core/base/files.h"
#include "pipelines/cloud/labelled_cloud.h"

namespace graft::apps::cloud {

void PreparedFolder::add(data::PointCloud cloud, int64_t label) {
  const auto place = label < 0 ? std::string() : classes_[static_cast<size_t>(label)] + "/";
  std::filesystem::create_directories(folder_ / place);
  auto number = std::to_string(++count_);
  number.insert(0, number.size() < 5 ? 5 - number.size() : 0, '0');
  auto name = plain_name(cloud.source);
  if (name.ends_with(".ply")) name.resize(name.size() - 4);
  const auto file = place + number + "_" + name + ".ply";
  cloud.labels.assign(static_cast<size_t>(cloud.size()), label < 0 ? pipelines::kUnlabelled : static_cast<int32_t>(label));
  pipelines::write_labelled_ply(folder_ / file, cloud, classes_);
  if (label >= 0) index_ += file + "," + classes_[static_cast<size_t>(label)] + "\n";
  points_ += cloud.size();
}

void PreparedFolder::finish() const {
  if (!index_.empty()) write_file_atomically(folder_ / "index.csv", "file,label\n" + index_);
}

}  // namespace graft::apps::cloud
