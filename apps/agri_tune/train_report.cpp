#include "apps/agri_tune/train_report.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/base/cpu_features.h"
#include "peft_core/base/config.h"
#include "peft_core/base/json_files.h"
#include "peft_core/base/text_distance.h"
#include "pipelines/build_info.h"
#include "pipelines/language/evaluation.h"
#include "pipelines/metrics/answer_scores.h"
#include "pipelines/metrics/paired_comparison.h"
#include "pipelines/progress_line.h"

namespace graft::apps::agri {
namespace {

using namespace pipelines;
using Json = nlohmann::ordered_json;

constexpr int64_t kAnswerTokens = 80;

std::filesystem::path answers_file(const RunDir& run, TrainReportMaker::When when) {
  return run.path() / (when == TrainReportMaker::When::kBefore ? "answers_before.json" : "answers_after.json");
}

std::vector<std::string> read_answers(const RunDir& run, TrainReportMaker::When when) {
  const auto file = answers_file(run, when);
  if (!std::filesystem::exists(file)) return {};
  return read_json_file(file).get<std::vector<std::string>>();
}

Score share_of_answers(const std::string& name, const std::string& note, const std::vector<double>& before,
                       const std::vector<double>& after) {
  const auto compared = compare_paired(before, after);
  return {.name = name, .note = note, .before = compared.mean_before, .after = compared.mean_after, .kind = Score::Kind::kShare,
          .change_low = compared.difference.low, .change_high = compared.difference.high};
}

/// ", rank 16, alpha 32, ...": what the section `method` holds besides the name, without what is empty or off.
std::string chosen_values(const ConfigNode& root) {
  std::string text;
  for (const auto& [key, value] : root.find("method")->entries) {
    std::vector<std::string> values;
    if (value.kind == ConfigNode::Kind::kScalar) values.push_back(value.scalar);
    for (const auto& item : value.items) values.push_back(item.scalar);
    const auto shown = join(values, " ");
    const bool off = shown.empty() || shown == "false" || shown == "0" || shown == "null";
    if (key != "name" && value.kind != ConfigNode::Kind::kMap && !off) text += ", " + key + " " + shown;
  }
  return text;
}

std::string three_decimals(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", value);
  return text;
}

}  // namespace

std::vector<data::Record> TrainReportMaker::questions() const {
  std::vector<data::Record> chosen;
  const auto wanted = static_cast<size_t>(settings_.run.sample_answers);
  if (wanted == 0) return chosen;
  // Spread over the whole set, which is often sorted by topic.
  const size_t stride = std::max<size_t>(1, sets_.held_out.size() / wanted);
  for (size_t i = 0; i < sets_.held_out.size() && chosen.size() < wanted; i += stride)
    if (!sets_.held_out[i].turns.empty()) chosen.push_back(sets_.held_out[i]);
  return chosen;
}

void TrainReportMaker::answer_samples(When when) const {
  const auto asked = questions();
  if (asked.empty()) return;
  std::vector<std::vector<data::TokenId>> prompts;
  for (const auto& record : asked) prompts.push_back(encode_prompt(*language_.tokenizer, encoding_, record));
  write_json_file(answers_file(run_, when), greedy_texts(language_, encoding_, prompts, {.max_new_tokens = kAnswerTokens}));
}

std::vector<SampleAnswer> TrainReportMaker::samples() const {
  const auto before = read_answers(run_, When::kBefore), after = read_answers(run_, When::kAfter);
  const auto asked = questions();
  std::vector<SampleAnswer> samples;
  for (size_t i = 0; i < asked.size() && i < before.size() && i < after.size(); ++i)
    samples.push_back({std::string(data::question_of(asked[i])), std::string(data::answer_of(asked[i])), before[i], after[i]});
  return samples;
}

std::vector<Fact> TrainReportMaker::facts(const TrainReport& trained) const {
  const auto trainable = trainable_parameter_count(*language_.attachment), total = base_parameter_count(*language_.model);
  const auto& storage = language_.model->storage();
  double seconds = 0;  // of all steps, whichever call of the program took them
  for (const auto& line : read_step_lines(run_.path())) seconds += std::isfinite(line.seconds) ? line.seconds : 0;
  return {{"Model", call_.model},
          {"Data", call_.data.front() + (call_.data.size() > 1 ? " and " + std::to_string(call_.data.size() - 1) + " more" : "")},
          {"Method", settings_.method->name + chosen_values(ConfigNode::parse(settings_.method->resolved(settings_.method_node), "method"))},
          {"Samples a step", format_count(settings_.train.batch_size * settings_.train.accumulation) +
                                 (settings_.train.packing ? " packed rows" : "") + " of up to " + format_count(settings_.train.max_length) + " tokens"},
          {"Learning rate", ConfigNode::parse(write_config(settings_.train, "train"), "train").find("train.learning_rate")->scalar + ", " +
                                enum_name(settings_.train.schedule)},
          {"Trained parameters", format_count(trainable) + " beside " + format_count(total) + " frozen ones"},
          {"Frozen weights", language_.model->frozen_matrices().back().second->storage() + ", computed in " +
                                 (storage.compute == at::kFloat ? "fp32" : "bf16")},
          {"Steps", std::to_string(trained.steps)},
          {"Time of training", format_duration(seconds)},
          {"Hardware", kernels::cpu_features().brand},
          {"Seed", std::to_string(settings_.train.seed)},
          {"Run id", run_.run_id()},
          {"Commit", build_info().commit}};
}

std::vector<Score> TrainReportMaker::scores() const {
  std::vector<Score> scores;
  const auto lines = read_evaluation_lines(run_.path());
  const auto note = std::to_string(sets_.held_out.size()) + " held-out items";
  if (lines.size() >= 2) {
    for (const auto& [key, name] : {std::pair{"held_out_loss", "Held-out loss"}, std::pair{"held_out_perplexity", "Held-out perplexity"}})
      scores.push_back({.name = name, .note = note, .before = lines.front().metrics.at(key), .after = lines.back().metrics.at(key),
                        .kind = Score::Kind::kNumber, .better = Score::Better::kLower});
  }
  const auto answered = samples();
  if (answered.empty()) return scores;
  std::vector<double> f1_before, f1_after, rouge_before, rouge_after;
  for (const auto& sample : answered) {
    f1_before.push_back(token_f1(sample.before, {sample.reference})), f1_after.push_back(token_f1(sample.after, {sample.reference}));
    rouge_before.push_back(rouge_l(sample.before, {sample.reference})), rouge_after.push_back(rouge_l(sample.after, {sample.reference}));
  }
  const auto few = std::to_string(answered.size()) + " answers shown below";
  scores.push_back(share_of_answers("Token F1", few, f1_before, f1_after));
  scores.push_back(share_of_answers("ROUGE-L", few, rouge_before, rouge_after));
  return scores;
}

std::string TrainReportMaker::summary(const TrainReport& trained) const {
  const auto bytes = std::filesystem::file_size(run_.path() / "adapter_model.safetensors");
  const auto run = format_steps(trained.steps) + " of " + settings_.method->name;
  const auto adapter = " The model itself is unchanged; what was learnt is an adapter of " + format_bytes(static_cast<int64_t>(bytes)) + " beside it.";
  const auto lines = read_evaluation_lines(run_.path());
  if (lines.size() < 2)
    return run + "." + adapter + " No held-out data was given (--eval-data), so nothing here tells how well it answers new questions.";
  const auto before = lines.front().metrics.at("held_out_loss"), after = lines.back().metrics.at("held_out_loss");
  return run + " took the loss on " + format_count(static_cast<int64_t>(sets_.held_out.size())) + " held-out items from " +
         three_decimals(before) + " to " + three_decimals(after) + " nats a token." + adapter;
}

void TrainReportMaker::write(const TrainReport& trained) const {
  ReportContent content;
  const auto model = std::filesystem::path(call_.model).stem().string();
  content.title = model + " learns from " + format_count(static_cast<int64_t>(sets_.train.size())) + " examples";
  content.summary = summary(trained);
  content.facts = facts(trained);
  content.scores = scores();
  content.steps = read_step_lines(run_.path());
  for (const auto& line : read_evaluation_lines(run_.path()))
    if (const auto loss = line.metrics.find("held_out_loss"); loss != line.metrics.end())
      content.held_out.push_back({line.step, loss->second});
  content.samples = samples();
  content.samples_note = "Held-out questions, answered with the likeliest word each time. Answers end after " + std::to_string(kAnswerTokens) +
                         " tokens at the latest.";
  content.data = sets_.findings;
  const auto run = run_.path().string();
  content.recipes = {{"Ask the adapted model", "agri_tune predict --model " + call_.model + " --adapter " + run + " --prompt \"...\""},
                     {"Merge it into a Hugging Face folder", "agri_tune merge --model " + call_.model + " --adapter " + run + " --out merged"},
                     {"Write a GGUF file", "agri_tune export --model " + call_.model + " --adapter " + run + " --format gguf --out model.gguf"}};
  write_report(run_.path() / "report.html", content);
}

}  // namespace graft::apps::agri
