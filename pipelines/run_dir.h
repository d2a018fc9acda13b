#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace graft::pipelines {

enum class Opening { kStart, kResume };

/// What makes a run repeatable; goes into manifest.json together with commit, libraries and machine.
struct RunFacts {
  std::string app, command_line;
  std::optional<int64_t> seed;
  std::filesystem::path model;
  std::vector<std::filesystem::path> data;  ///< each is hashed
  std::string device = "cpu";               ///< where the model computes: "cpu" or "cuda:0"
};

/// The folder of one run:
///   config.yaml          the resolved settings
///   manifest.json        who made it, from what, on which machine
///   metrics.jsonl        one line a step (MetricsLog)
/// and what the task and the commands add (adapter, report.html, summary.json, predictions.jsonl). All but metrics.jsonl is written
/// atomically.
class RunDir {
 public:
  /// Makes the folder. Throws InvalidArgument if it holds a run and `opening` is kStart; IoError if it cannot be made.
  static RunDir open(const std::filesystem::path& path, Opening opening);

  const std::filesystem::path& path() const { return path_; }
  /// Given once, kept when a run is resumed: UTC time and six random digits.
  const std::string& run_id() const { return run_id_; }
  /// True if there was a run in the folder already.
  bool resumed() const { return resumed_; }

  void write_config(const std::string& yaml) const;
  /// A resumed run keeps id, start and first command line and gets one more entry under "resumed".
  void write_manifest(const RunFacts& facts) const;
  /// Adds or replaces one entry of the manifest, e.g. the model's hash once it is known.
  void note(const std::string& key, const nlohmann::ordered_json& value) const;

 private:
  std::filesystem::path path_;
  std::string run_id_;
  bool resumed_ = false;
};

/// Commit, version, compiler, LibTorch and further libraries.
nlohmann::ordered_json build_facts();
/// Where models compute and with which kernels; processor, its features, cores, memory.
nlohmann::ordered_json machine_facts(const std::string& device);
/// {"path", "bytes", "sha256"}
nlohmann::ordered_json file_facts(const std::filesystem::path& file);

/// One JSON value a line, atomically; for predictions.jsonl.
void write_json_lines(const std::filesystem::path& file, std::span<const nlohmann::ordered_json> values);

}  // namespace graft::pipelines
