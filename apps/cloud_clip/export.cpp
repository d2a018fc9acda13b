#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <nlohmann/json.hpp>

#include "apps/cloud_clip/commands.h"
#include "peft_core/base/json_files.h"
#include "peft_core/base/log.h"
#include "peft_core/checkpoint/adapter_files.h"
#include "peft_core/checkpoint/clip_files.h"
#include "peft_core/checkpoint/hf_writer.h"
#include "peft_core/checkpoint/staged_folder.h"
#include "pipelines/cloud/adapted_clip.h"

namespace graft::apps::cloud {
namespace {

constexpr int64_t kProbeImages = 4;

/// Features of pictures that any model takes, to compare a model with what was written of it.
at::Tensor probe_features(const peft::ClipModel& model) {
  at::NoGradGuard no_gradient;
  const auto& shape = model.config().vision;
  auto random = at::make_generator<at::CPUGeneratorImpl>(uint64_t{1});
  return model.image_features(at::rand({kProbeImages, shape.channels, shape.image_size, shape.image_size}, random, at::kFloat), {});
}

double difference_of_written(const std::filesystem::path& folder, const at::Tensor& exact) {
  const auto written = peft::open_clip(folder);
  const peft::ClipModel model(written.config, *written.folder.weights, {});
  return (probe_features(model) - exact).abs().max().item<double>();
}

}  // namespace

void export_model(const pipelines::Invocation& call) {
  peft::StagedFolder folder(call.out_dir);
  const auto files = peft::open_clip(call.model);
  peft::ClipModel model(files.config, *files.folder.weights, {});
  const auto adapter = peft::read_adapter(call.adapter);
  const auto attachment = peft::attach_adapter(adapter, model.places(), files.folder.fingerprint, false, call.adapter);
  const auto head = pipelines::read_cloud_head(call.adapter);
  if (head && (head->config.prompts != pipelines::Part::kNone || head->config.head != pipelines::CloudHead::kNone))
    log_warning(call.adapter + " holds prompts or a view adapter besides: they are no part of a CLIP model and stay behind; use --adapter to keep them");
  const auto exact = probe_features(model);
  peft::copy_hf_companions(files.folder.path, folder.path());
  peft::write_clip(folder.path(), model);
  const double difference = difference_of_written(folder.path(), exact);
  folder.commit();
  const nlohmann::ordered_json report = {{"out", call.out_dir}, {"type", "f32"}, {"method", adapter.method->name},
                                         {"max_feature_difference", difference}, {"largest_feature", exact.abs().max().item<double>()}};
  *call.out << to_json_line(report) << "\n";
}

}  // namespace graft::apps::cloud
