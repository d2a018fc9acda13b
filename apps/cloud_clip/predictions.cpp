#include "apps/cloud_clip/predictions.h"

#include <algorithm>
#include <cmath>

#include "data_loaders/cloud/sampling.h"
#include "peft_core/base/files.h"
#include "peft_core/base/json_files.h"
#include "pipelines/cloud/labelled_cloud.h"
#include "pipelines/progress_line.h"
#include "pipelines/run_dir.h"

namespace graft::apps::cloud {

using namespace pipelines;
using Json = nlohmann::ordered_json;

namespace {

constexpr Colour kFrame = {44, 140, 70};

/// A field of a CSV file, quoted where it has to be.
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string csv_line(const std::vector<std::string>& fields) {
  std::string line;
  for (const auto& field : fields) {
    if (&field != &fields.front()) line += ',';
    line += csv_field(field);
  }
  return line + "\n";
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text.append(text.empty() ? "" : "; ").append(word);
  return text;
}

std::string numbered(const Json& views) {
  std::string text;
  for (const auto& view : views) text.append(text.empty() ? "" : " ").append(std::to_string(view.get<int64_t>()));
  return text;
}

}  // namespace

std::string percent(double share) {
  const auto tenths = std::lround(1000 * share);
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " %";
}

std::string plain_name(const std::string& name) {
  auto plain = std::filesystem::path(name).filename().string();
  std::replace_if(plain.begin(), plain.end(), [](unsigned char c) { return !(std::isalnum(c) || c == '-' || c == '_' || c == '.'); }, '_');
  return plain.substr(0, 80);
}

int32_t label_of(const CloudAnswer& answer, const PredictConfig& config) {
  const bool unsure = answer.probability() < config.none_below || (config.none_above_entropy > 0 && answer.entropy > config.none_above_entropy);
  return unsure ? kNoneOfThese : static_cast<int32_t>(answer.best);
}

std::vector<Picture> view_pictures(const at::Tensor& views, int64_t index) {
  const auto own = views.select(0, index).contiguous();
  const int64_t side = own.size(-1);
  const auto pixels = static_cast<size_t>(side * side);
  std::vector<Picture> pictures;
  for (int64_t m = 0; m < own.size(0); ++m) pictures.push_back(grey_picture({own.const_data_ptr<float>() + static_cast<size_t>(m) * pixels, pixels}, side));
  return pictures;
}

Picture views_sheet(const at::Tensor& views, int64_t index, const std::vector<int64_t>& kept) {
  std::vector<bool> framed(static_cast<size_t>(views.size(1)), false);
  for (const auto m : kept) framed[static_cast<size_t>(m)] = true;
  return sheet_of(view_pictures(views, index), views.size(1) % 5 == 0 ? 5 : 3, framed, kFrame);  // ten views, or six
}

std::string short_name(const std::string& file, const std::filesystem::path& input) {
  auto start = input.lexically_normal();
  if (start.filename().empty()) start = start.parent_path();  // "scans/"
  const auto parent = start.parent_path().string() + "/";
  return file.starts_with(parent) ? file.substr(parent.size()) : file;
}

Predictions::Predictions(std::filesystem::path folder, std::filesystem::path input, std::vector<std::string> classes, const PredictConfig& config)
    : folder_(std::move(folder)), input_(std::move(input)), classes_(std::move(classes)), config_(config) {}

std::string Predictions::name_of(int32_t label) const { return label < 0 ? kNoneLabel : classes_[static_cast<size_t>(label)]; }

ShownCloud Predictions::shown_cloud(const data::PointCloud& cloud, const CloudAnswer& answer) const {
  ShownCloud shown;
  shown.name = short_name(cloud.source, input_);
  shown.answer = name_of(label_of(answer, config_)) + ", " + percent(answer.probability());
  for (const auto k : likeliest(answer, config_.top)) shown.top.emplace_back(classes_[static_cast<size_t>(k)], answer.probabilities[static_cast<size_t>(k)]);
  shown.note = "entropy " + std::to_string(answer.entropy).substr(0, 5) + " nats; views that had a say: " + std::to_string(answer.kept_views.size()) + " of " +
               std::to_string(answer.view_entropy.size());
  shown.cloud = data::random_points(cloud, config_.points_shown, 0);
  shown.colours = shown.cloud.colours;
  return shown;
}

void Predictions::add(const data::PointCloud& cloud, const CloudAnswer& answer, const at::Tensor& views, int64_t index, const Json& more) {
  const auto label = label_of(answer, config_);
  auto top = Json::array(), kept = Json::array();
  for (const auto k : likeliest(answer, config_.top))
    top.push_back({{"label", classes_[static_cast<size_t>(k)]}, {"probability", answer.probabilities[static_cast<size_t>(k)]}});
  for (const auto m : answer.kept_views) kept.push_back(m + 1);
  Json line = {{"file", cloud.source}, {"label", name_of(label)}, {"probability", answer.probability()}, {"top", top}, {"entropy", answer.entropy},
               {"kept_views", kept}, {"view_entropy", answer.view_entropy}, {"points", cloud.size()}};
  line.update(more);
  labels_.push_back(label);
  if (static_cast<int64_t>(lines_.size()) < config_.shown) {
    auto shown = shown_cloud(cloud, answer);
    shown.sheet = png_bytes(views_sheet(views, index, answer.kept_views));
    const auto number = std::to_string(lines_.size() + 1);
    const auto file = "sheets/" + std::string(4 - std::min<size_t>(4, number.size()), '0') + number + "_" + plain_name(cloud.source) + ".png";
    std::filesystem::create_directories(folder_ / "sheets");
    write_file_atomically(folder_ / file, shown.sheet);
    line["sheet"] = file;
    shown_.push_back(std::move(shown));
  }
  lines_.push_back(std::move(line));
}

std::vector<LabelCount> Predictions::counts() const {
  std::vector<LabelCount> counts;
  const auto count = [&](int32_t label) {
    const auto n = std::count(labels_.begin(), labels_.end(), label);
    if (n > 0) counts.push_back({name_of(label), n, colour_of_label(label)});
  };
  for (int32_t k = 0; k < static_cast<int32_t>(classes_.size()); ++k) count(k);
  count(kNoneOfThese);
  std::stable_sort(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.count > b.count; });
  return counts;
}

void Predictions::write(const CloudInput& input) const {
  write_json_lines(folder_ / "predictions.jsonl", lines_);
  std::string csv = "file,label,probability,entropy,kept_views,points\n";
  for (const auto& line : lines_)
    csv += csv_line({line["file"], line["label"], line["probability"].dump(), line["entropy"].dump(), numbered(line["kept_views"]), line["points"].dump()});
  write_file_atomically(folder_ / "predictions.csv", csv);
  std::vector<Json> skipped;
  std::string table = "file,read,points,dropped,up,note\n";
  for (const auto& line : input.lines()) {
    const bool read = line.reason.empty();
    if (!read) skipped.push_back({{"file", line.file}, {"reason", line.reason}});
    table += csv_line({line.file, read ? "yes" : "no", std::to_string(line.points), std::to_string(line.dropped), line.up, read ? joined(line.notes) : line.reason});
  }
  write_json_lines(folder_ / "skipped.jsonl", skipped);
  write_file_atomically(folder_ / "clouds.csv", table);
}

void Predictions::fill(CloudReport& report, const CloudInput& input) const {
  report.counts = counts();
  report.shown = scenes_;
  report.shown.insert(report.shown.end(), shown_.begin(), shown_.end());
  std::map<std::string, std::string> answers;
  for (const auto& line : lines_) answers[line["file"]] = line["label"].get<std::string>() + ", " + percent(line["probability"]);
  for (const auto& line : input.lines()) {
    auto notes = line.notes;
    if (line.dropped > 0) notes.push_back(format_count(line.dropped) + " points without a position left out");
    const bool skipped = !line.reason.empty();
    const auto answer = answers.find(line.file);
    report.read.push_back({.file = short_name(line.file, input_), .points = skipped ? "" : format_count(line.points), .up = line.up,
                           .result = skipped ? line.reason : answer == answers.end() ? "read" : answer->second, .note = joined(notes), .skipped = skipped});
  }
}

}  // namespace graft::apps::cloud
