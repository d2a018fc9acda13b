#include <nlohmann/json.hpp>

#include "apps/cloud_clip/cloud_labeller.h"
#include "apps/cloud_clip/commands.h"
#include "apps/cloud_clip/predictions.h"
#include "kernels/base/error.h"
#include "peft_core/base/files.h"
#include "peft_core/base/json_files.h"
#include "pipelines/cloud/score_figures.h"
#include "pipelines/progress_line.h"
#include "pipelines/run_dir.h"

namespace graft::apps::cloud {

using namespace pipelines;
using Json = nlohmann::ordered_json;

namespace {

/// The classes that CLIP chooses from: the user's, which have to hold all of the data's; else the data's.
std::vector<CloudClass> classes_for(const Invocation& call, const std::vector<std::string>& in_data) {
  if (call.classes.empty() && call.classes_file.empty()) {
    std::vector<CloudClass> classes;
    for (const auto& name : in_data) classes.push_back({.name = name, .synonyms = {}, .attributes = {}});
    return classes;
  }
  auto classes = classes_of(call);
  for (const auto& name : in_data)
    if (std::none_of(classes.begin(), classes.end(), [&](const auto& which) { return which.name == name; }))
      throw InvalidArgument({.where = "--classes", .what = "lacks the class '" + name + "' of the data", .hint = "or leave it out with --set data.classes"});
  return classes;
}

/// Index among `names` of each cloud's class.
std::vector<int64_t> labels_among(const std::vector<std::string>& names, const data::LabelledClouds& data) {
  std::vector<int64_t> labels;
  for (const auto label : data.labels) {
    const auto& name = data.classes[static_cast<size_t>(label)];
    labels.push_back(std::find(names.begin(), names.end(), name) - names.begin());
  }
  return labels;
}

struct Evaluation {
  LabelTally tally;
  Predictions found;
  CloudInput input;
};

void label_all(Evaluation& job, const CloudLabeller& labeller, const std::vector<int64_t>& labels, const PredictConfig& config, const Invocation& call) {
  std::vector<data::PointCloud> batch;
  std::vector<int64_t> right;
  for (int64_t i = 0; i < job.input.size(); ++i) {
    if (auto cloud = job.input.read(i)) {
      batch.push_back(std::move(*cloud));
      right.push_back(labels[static_cast<size_t>(i)]);
    }
    if (batch.empty() || (static_cast<int64_t>(batch.size()) < config.batch && i + 1 < job.input.size())) continue;
    const auto labelled = labeller.label(batch);
    for (size_t k = 0; k < batch.size(); ++k) {
      const auto& answer = labelled.answers[k];
      job.tally.add(right[k], std::max(label_of(answer, config), -1), answer.probability(), answer.entropy);
      job.found.add(batch[k], answer, labelled.views, static_cast<int64_t>(k), {{"right", job.tally.classes()[static_cast<size_t>(right[k])]}});
    }
    batch.clear();
    right.clear();
    if (!call.quiet) *call.err << i + 1 << " of " << job.input.size() << " clouds\n";
  }
}

void write_page(const Evaluation& job, const RunDir& run, const Invocation& call, const ZeroShotSettings& settings) {
  const auto& tally = job.tally;
  CloudReport report;
  report.title = percent(tally.accuracy()) + " of " + std::to_string(tally.clouds()) + " clouds right";
  report.summary = "CLIP has chosen one of " + std::to_string(tally.classes().size()) + " labels for each cloud of " + call.data.front() + ".";
  const auto interval = wilson_interval(tally.correct(), tally.clouds());
  report.tiles = {{{"Accuracy", percent(tally.accuracy())}, "95 % interval " + percent(interval.low) + " to " + percent(interval.high)},
                  {{"Mean of the classes", percent(tally.mean_class_accuracy())}, "each class counts the same"},
                  {{"Calibration error", percent(tally.calibration_error())}, "how far its probabilities are off, 15 bins"},
                  {{"Clouds", format_count(tally.clouds())}, std::to_string(job.input.skipped()) + " could not be read"}};
  report.figures = {{"Which class was taken for which", confusion_svg(tally)}, {"Accuracy of each class, with its 95 % interval", per_class_svg(tally)},
                    {"How often the program is right when it is this sure", reliability_svg(tally)}};
  job.found.fill(report, job.input);
  report.facts = {{"Model", call.model}, {"Adapter", call.adapter.empty() ? "none" : call.adapter}, {"Data", call.data.front()}, {"Split", settings.data.split},
                  {"Views become an answer by", enum_name(settings.zero_shot.mode)}, {"Projection", enum_name(settings.zero_shot.projection)},
                  {"Text", settings.zero_shot.prompts.text}, {"Seed", std::to_string(settings.run.seed)},
                  {"Run", run.run_id()}, {"Command", call.command_line}};
  write_cloud_report(run.path() / "report.html", report);
}

Json summary_of(const Evaluation& job, const RunDir& run, const Invocation& call, const ZeroShotSettings& settings) {
  auto summary = job.tally.summary();
  summary["skipped"] = job.input.skipped();
  summary["mode"] = enum_name(settings.zero_shot.mode);
  summary["projection"] = enum_name(settings.zero_shot.projection);
  summary["seed"] = settings.run.seed;
  summary["split"] = settings.data.split;
  summary["data"] = call.data.front();
  summary["model"] = call.model;
  summary["adapter"] = call.adapter;
  summary["run_id"] = run.run_id();
  return summary;
}

}  // namespace

void eval(const Invocation& call) {
  auto settings = read_zero_shot_settings(call);
  if (call.data.size() != 1) throw InvalidArgument({.where = "--data", .what = "names more than one folder", .expected = "1", .got = std::to_string(call.data.size())});
  const auto data = data::labelled_clouds(call.data.front(), settings.data.choice());
  const CloudLabeller labeller(call, settings.zero_shot, settings.base, classes_for(call, data.classes));
  settings.zero_shot.projection = labeller.projection();
  const auto run = RunDir::open(call.out_dir, Opening::kStart);
  run.write_config(settings.to_yaml());
  run.write_manifest({.app = call.app, .command_line = call.command_line, .seed = settings.run.seed, .model = call.model, .data = data::paths_of(data.files)});
  Evaluation job{LabelTally(labeller.names()), Predictions(run.path(), call.data.front(), labeller.names(), settings.predict),
                 CloudInput(data.files, settings.input, static_cast<uint64_t>(settings.run.seed))};
  label_all(job, labeller, labels_among(labeller.names(), data), settings.predict, call);
  job.found.write(job.input);
  job.input.expect_some();
  const auto summary = summary_of(job, run, call, settings);
  write_json_file(run.path() / "summary.json", summary);
  write_json_file(run.path() / "confusion.json", {{"classes", summary["classes"]}, {"confusion", summary["confusion"]}, {"per_class", summary["per_class"]}});
  write_file_atomically(run.path() / "confusion.svg", confusion_svg(job.tally));
  write_file_atomically(run.path() / "per_class.svg", per_class_svg(job.tally));
  write_file_atomically(run.path() / "reliability.svg", reliability_svg(job.tally));
  write_page(job, run, call, settings);
  *call.out << to_json_line(summary) << "\n";
}

}  // namespace graft::apps::cloud
