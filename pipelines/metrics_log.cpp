#include "pipelines/metrics_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "kernels/base/error.h"
#include "peft_core/base/files.h"
#include "peft_core/base/json_files.h"
#include "peft_core/base/log.h"

namespace graft::pipelines {
namespace {

namespace fs = std::filesystem;

/// Calls `use(line, json)` for every whole line that is a JSON object with a step.
template <class Use>
void for_each_line(const fs::path& file, const Use& use) {
  if (!fs::exists(file)) return;
  const auto text = read_file(file);
  for (size_t begin = 0; begin < text.size();) {
    const auto end = text.find('\n', begin);
    if (end == std::string::npos) return;  // the process died while it wrote this line
    const auto line = text.substr(begin, end - begin);
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (json.is_object() && json.contains("step") && json["step"].is_number_integer()) use(line, json);
    begin = end + 1;
  }
}

double number_in(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number() ? found->get<double>() : 0.0;
}

}  // namespace

MetricsLog::MetricsLog(const fs::path& file, int64_t first_step) : file_(file) {
  std::string kept;
  for_each_line(file, [&](const std::string& line, const nlohmann::json& json) {
    if (json["step"].get<int64_t>() < first_step) kept += line + "\n";
  });
  write_file_atomically(file, kept);
  descriptor_ = ::open(file.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (descriptor_ < 0) throw IoError({.where = file.string(), .what = std::string("cannot open: ") + std::strerror(errno)});
}

MetricsLog::~MetricsLog() { ::close(descriptor_); }

void MetricsLog::append(const nlohmann::ordered_json& line) {
  const auto text = to_json_line(line) + "\n";
  const auto before = ::lseek(descriptor_, 0, SEEK_END);
  const auto written = ::write(descriptor_, text.data(), text.size());
  if (written == static_cast<ssize_t>(text.size())) return;
  const std::string reason = written < 0 ? std::strerror(errno) : "no space left";
  const bool whole = ::ftruncate(descriptor_, before) == 0;  // half a line would spoil the next one
  if (!warned_ || !whole) log_warning(file_.string() + ": a line could not be written: " + reason);
  warned_ = true;
}

std::vector<StepLine> read_step_lines(const fs::path& run_dir) {
  std::vector<StepLine> lines;
  for_each_line(run_dir / "metrics.jsonl", [&](const std::string&, const nlohmann::json& json) {
    lines.push_back({.step = json["step"].get<int64_t>(),
                     .loss = number_in(json, "loss"),
                     .learning_rate = number_in(json, "learning_rate"),
                     .tokens_per_second = number_in(json, "tokens_per_second"),
                     .peak_memory_bytes = static_cast<int64_t>(number_in(json, "peak_memory_bytes")),
                     .seconds = number_in(json, "seconds")});
  });
  return lines;
}

std::vector<EvaluationLine> read_evaluation_lines(const fs::path& run_dir) {
  std::vector<EvaluationLine> lines;
  for_each_line(run_dir / "evaluations.jsonl", [&](const std::string&, const nlohmann::json& json) {
    EvaluationLine line{.step = json["step"].get<int64_t>()};
    for (const auto& [name, value] : json.items()) {
      if (name != "step" && value.is_number()) line.metrics[name] = value.get<double>();
    }
    lines.push_back(std::move(line));
  });
  return lines;
}

}  // namespace graft::pipelines
