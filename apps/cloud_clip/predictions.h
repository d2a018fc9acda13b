#pragma once

#include <ATen/core/Tensor.h>

#include <nlohmann/json.hpp>

#include "apps/cloud_clip/cloud_input.h"
#include "pipelines/cloud/cloud_report.h"

namespace graft::apps::cloud {

constexpr const char* kNoneLabel = "none of these";

/// The class that an answer is taken for, or pipelines::kNoneOfThese where the settings think it too unsure.
int32_t label_of(const pipelines::CloudAnswer& answer, const PredictConfig& config);

/// The views of cloud `index` of a batch (B, M, S, S), values in [0, 1], on one sheet; those that had a say framed.
pipelines::Picture views_sheet(const at::Tensor& views, int64_t index, const std::vector<int64_t>& kept);
std::vector<pipelines::Picture> view_pictures(const at::Tensor& views, int64_t index);

/// "0.973" -> "97.3 %".
std::string percent(double share);

/// A cloud's name from the input on: "scans/a.ply" of "--input /data/scans".
std::string short_name(const std::string& file, const std::filesystem::path& input);

/// A file's name without what a file system may not like, for files named after it.
std::string plain_name(const std::string& name);

/// Collects what predict and eval say about clouds and writes it: predictions.jsonl, predictions.csv, sheets/, and their part of the report.
class Predictions {
 public:
  /// Writes into `folder`; `input` is what the clouds come from.
  Predictions(std::filesystem::path folder, std::filesystem::path input, std::vector<std::string> classes, const PredictConfig& config);

  /// One cloud (z up) with its answer; `more` goes into its line of predictions.jsonl.
  void add(const data::PointCloud& cloud, const pipelines::CloudAnswer& answer, const at::Tensor& views, int64_t index,
           const nlohmann::ordered_json& more = nlohmann::ordered_json::object());
  /// Puts a cloud in the report that is no prediction, before all that are: a scene with its colours.
  void show_scene(pipelines::ShownCloud scene) { scenes_.push_back(std::move(scene)); }

  int64_t size() const { return static_cast<int64_t>(lines_.size()); }
  const std::vector<std::string>& classes() const { return classes_; }
  /// How often each label was given, the frequent first; none that was never given.
  std::vector<pipelines::LabelCount> counts() const;
  /// Writes the files, and those about the input: skipped.jsonl and clouds.csv.
  void write(const CloudInput& input) const;
  /// Labels, clouds, table of files.
  void fill(pipelines::CloudReport& report, const CloudInput& input) const;

 private:
  std::string name_of(int32_t label) const;
  pipelines::ShownCloud shown_cloud(const data::PointCloud& cloud, const pipelines::CloudAnswer& answer) const;

  std::filesystem::path folder_, input_;
  std::vector<std::string> classes_;
  PredictConfig config_;
  std::vector<nlohmann::ordered_json> lines_;
  std::vector<int32_t> labels_;
  std::vector<pipelines::ShownCloud> scenes_, shown_;
};

}  // namespace graft::apps::cloud
