#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "pipelines/metrics_log.h"

namespace graft::pipelines {

struct Fact {
  std::string label, value;
};

struct Score {
  enum class Kind { kShare, kNumber };          ///< a share 0..1 is shown in percent
  enum class Better { kHigher, kLower };
  std::string name;                             ///< "Exact match"
  std::string note;                             ///< how it was measured: "64 held-out questions"
  std::optional<double> before, after;
  Kind kind = Kind::kNumber;
  Better better = Better::kHigher;
  std::optional<double> change_low, change_high;  ///< 95 % interval of the change over the items; none: not known
};

struct HeldOutPoint {
  int64_t step = 0;  ///< 0 is before training
  double loss = 0;   ///< nats a token
};

struct SampleAnswer {
  std::string question, reference, before, after;
};

struct DataReportSection {
  std::vector<Fact> counts;           ///< "Rows read", "Bad rows", "Exact duplicates", "Overlap with held-out data"
  std::vector<std::string> problems;  ///< "train.jsonl:17: no answer"; a part of them is enough
};

/// A command that a reader may copy.
struct Recipe {
  std::string purpose, command;
};

/// Everything a report shows; plain text, no HTML. Empty parts are left out of the page.
struct ReportContent {
  std::string title;                ///< "SmolLM2-135M-Instruct learns 320 farm questions"
  std::string summary;              ///< one or two sentences
  std::vector<Fact> facts;          ///< model, data, method, parameters, hardware, commit, run id, seed
  std::vector<Score> scores;        ///< the first two are also shown large at the top
  std::vector<StepLine> steps;      ///< read_step_lines(run_dir)
  std::vector<HeldOutPoint> held_out;
  std::vector<SampleAnswer> samples;
  std::string samples_note;         ///< how the answers were made
  DataReportSection data;
  std::vector<Recipe> recipes;      ///< how to use the adapter
};

/// One self-contained page: style, script and charts inside, no network, readable without JavaScript, in print and on a phone.
std::string report_html(const ReportContent& content);

/// Atomically; throws IoError.
void write_report(const std::filesystem::path& file, const ReportContent& content);

}  // namespace graft::pipelines
