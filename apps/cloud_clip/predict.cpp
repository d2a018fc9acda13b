#include <chrono>
#include <nlohmann/json.hpp>

#include "apps/cloud_clip/cloud_labeller.h"
#include "apps/cloud_clip/commands.h"
#include "apps/cloud_clip/predictions.h"
#include "apps/cloud_clip/scene_objects.h"
#include "data_loaders/cloud/sampling.h"
#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "pipelines/cloud/labelled_cloud.h"
#include "pipelines/progress_line.h"
#include "pipelines/run_dir.h"

namespace graft::apps::cloud {

using namespace pipelines;
using Json = nlohmann::ordered_json;

namespace {

struct Prediction {
  const Invocation& call;
  ZeroShotSettings settings;
  CloudLabeller labeller;
  RunDir run;
  CloudInput input;
  Predictions found;
  Json scenes = Json::array();
};

void say_progress(const Prediction& job, int64_t done) {
  if (!job.call.quiet && job.input.size() > job.settings.predict.batch) *job.call.err << done << " of " << job.input.size() << " clouds\n";
}

void label_clouds(Prediction& job) {
  std::vector<data::PointCloud> batch;
  for (int64_t i = 0; i < job.input.size(); ++i) {
    if (auto cloud = job.input.read(i)) batch.push_back(std::move(*cloud));
    if (batch.empty() || (static_cast<int64_t>(batch.size()) < job.settings.predict.batch && i + 1 < job.input.size())) continue;
    const auto labelled = job.labeller.label(batch);
    for (size_t k = 0; k < batch.size(); ++k) job.found.add(batch[k], labelled.answers[k], labelled.views, static_cast<int64_t>(k));
    batch.clear();
    say_progress(job, i + 1);
  }
}

/// Labels the objects; returns their labels.
std::vector<int32_t> label_objects(Prediction& job, const SceneObjects& scene, data::UpAxis up) {
  std::vector<int32_t> labels;
  const auto step = static_cast<size_t>(job.settings.predict.batch);
  for (size_t first = 0; first < scene.objects.size(); first += step) {
    const std::span batch(scene.objects.data() + first, std::min(step, scene.objects.size() - first));
    const auto labelled = job.labeller.label(batch);
    for (size_t k = 0; k < batch.size(); ++k) {
      const auto box = box_of(turned_back(batch[k], up));
      job.found.add(batch[k], labelled.answers[k], labelled.views, static_cast<int64_t>(k),
                    {{"box", {{"low", {box[0], box[1], box[2]}}, {"high", {box[3], box[4], box[5]}}}}});
      labels.push_back(label_of(labelled.answers[k], job.settings.predict));
    }
  }
  return labels;
}

/// The scene as the report shows it, coloured by label.
ShownCloud shown_scene(const Prediction& job, data::PointCloud scene, size_t objects) {
  ShownCloud shown;
  shown.name = short_name(scene.source, job.call.input);
  shown.answer = std::to_string(objects) + " objects";
  std::map<int32_t, int64_t> points;
  for (const auto label : scene.labels) ++points[label];
  for (const auto& [label, count] : points) {
    const auto name = label == kUnlabelled ? "ground and small parts" : label == kNoneOfThese ? kNoneLabel : job.found.classes()[static_cast<size_t>(label)];
    shown.legend.push_back({name, count, colour_of_label(label)});
  }
  shown.cloud = data::random_points(scene, 4 * job.settings.predict.points_shown, 0);
  for (const auto label : shown.cloud.labels)
    for (const auto part : colour_of_label(label)) shown.colours.push_back(part);
  return shown;
}

void label_scenes(Prediction& job) {
  for (int64_t i = 0; i < job.input.size(); ++i) {
    auto scene = job.input.read(i);
    if (!scene) continue;
    const auto parts = objects_of(*scene, job.settings.scene);
    const auto labels = label_objects(job, parts, job.input.up_of(i));
    scene->labels.clear();
    for (const auto object : parts.object_of_point) scene->labels.push_back(object < 0 ? kUnlabelled : labels[static_cast<size_t>(object)]);
    const auto stem = "scenes/" + std::to_string(i + 1) + "_" + plain_name(scene->source);
    std::filesystem::create_directories(job.run.path() / "scenes");
    const auto as_in_file = turned_back(*scene, job.input.up_of(i));
    write_labelled_ply(job.run.path() / (stem + ".ply"), as_in_file, job.found.classes());
    write_labelled_pcd(job.run.path() / (stem + ".pcd"), as_in_file, job.found.classes());
    job.scenes.push_back({{"file", scene->source}, {"points", scene->size()}, {"ground_points", parts.ground_points}, {"objects", parts.objects.size()},
                          {"labelled_ply", stem + ".ply"}, {"labelled_pcd", stem + ".pcd"}});
    const auto count = parts.objects.size();
    job.found.show_scene(shown_scene(job, std::move(*scene), count));
  }
}

void note_input(const Prediction& job) {
  auto facts = Json::array();
  std::string last;
  for (const auto& line : job.input.lines()) {
    const auto path = data::cloud_file_named(line.file).path;
    if (line.reason.empty() && path.string() != last) facts.push_back(file_facts(path));
    last = path.string();
  }
  job.run.note("data", facts);
}

Json summary_of(const Prediction& job, double seconds) {
  auto labels = Json::object();
  for (const auto& line : job.found.counts()) labels[line.label] = line.count;
  Json summary = {{"labelled", job.found.size()}, {"skipped", job.input.skipped()}, {"labels", labels}, {"classes", job.labeller.names()},
                  {"mode", enum_name(job.settings.zero_shot.mode)}, {"projection", enum_name(job.labeller.projection())},
                  {"model", job.call.model}, {"adapter", job.call.adapter}, {"seconds", seconds}, {"run_id", job.run.run_id()}};
  if (job.settings.scene.objects) summary["scenes"] = job.scenes;
  return summary;
}

void write_page(const Prediction& job, const Json& summary) {
  CloudReport report;
  report.title = format_count(job.found.size()) + (job.settings.scene.objects ? " objects of " : " clouds of ") + short_name(job.call.input, job.call.input);
  report.summary = "CLIP has given each one of " + std::to_string(job.found.classes().size()) + " labels from " + std::to_string(view_count(job.labeller.projection())) +
                   " depth views of its points.";
  report.tiles = {{{"Labelled", format_count(job.found.size())}, ""}, {{"Left out", format_count(job.input.skipped())}, "see what was read"},
                  {{"Time", format_duration(summary["seconds"])}, "for reading, views and CLIP"}};
  job.found.fill(report, job.input);
  report.facts = {{"Model", job.call.model}, {"Adapter", job.call.adapter.empty() ? "none" : job.call.adapter}, {"Views become an answer by", summary["mode"]},
                  {"Projection", summary["projection"]}, {"Text", job.settings.zero_shot.prompts.text},
                  {"Seed", std::to_string(job.settings.run.seed)}, {"Run", job.run.run_id()}, {"Command", job.call.command_line}};
  write_cloud_report(job.run.path() / "report.html", report);
}

}  // namespace

void predict(const Invocation& call) {
  const auto begin = std::chrono::steady_clock::now();
  auto settings = read_zero_shot_settings(call);
  auto classes = classes_of(call);
  CloudInput input(call.input, settings.input, static_cast<uint64_t>(settings.run.seed));
  CloudLabeller labeller(call, settings.zero_shot, settings.base, std::move(classes));
  settings.zero_shot.projection = labeller.projection();
  auto run = RunDir::open(call.out_dir, Opening::kStart);
  run.write_config(settings.to_yaml());
  run.write_manifest({.app = call.app, .command_line = call.command_line, .seed = settings.run.seed, .model = call.model, .data = {}});
  Predictions found(run.path(), call.input, labeller.names(), settings.predict);
  Prediction job{call, std::move(settings), std::move(labeller), std::move(run), std::move(input), std::move(found)};
  job.settings.scene.objects ? label_scenes(job) : label_clouds(job);
  job.found.write(job.input);
  note_input(job);
  job.input.expect_some();
  const auto summary = summary_of(job, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  write_json_file(job.run.path() / "summary.json", summary);
  write_page(job, summary);
  *call.out << to_json_line(summary) << "\n";
}

}  // namespace graft::apps::cloud
