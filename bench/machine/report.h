#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "bench/machine/ceilings.h"
#include "bench/machine/timing.h"

namespace graft::bench {

/// One comparison. `least_seconds` is what the ceiling allows, `work` what is done: FLOP, bytes or tokens.
struct Row {
  std::string name;
  Turns turns;
  double work = 0;
  const char* unit = "GFLOP/s";     ///< of work / 1e9 a second; "tokens/s" counts whole ones
  double least_seconds = 0;
  std::optional<double> target = {};  ///< of the project, for the ratio; shown where the processor has AMX
  std::string note = {};
};

/// Prints the tables line by line as they are measured and keeps everything for the JSON file.
class Report {
 public:
  void print_machine(int threads, bool quick);
  void print_ceilings(const Ceilings& ceilings);
  /// Starts a table; `theirs` names the right-hand side.
  void section(const std::string& title, const std::string& ours, const std::string& theirs);
  void add(const Row& row);
  void print_targets() const;
  const nlohmann::ordered_json& json() const { return json_; }

 private:
  nlohmann::ordered_json json_;
  std::string section_;
  std::vector<std::string> targets_;
};

}  // namespace graft::bench
