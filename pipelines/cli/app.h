#pragma once

#include <functional>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "pipelines/cli/invocation.h"

namespace graft::pipelines {

struct Command {
  std::string name;
  std::string summary;                             ///< one line for the list of commands
  std::vector<std::vector<Option>> needs;          ///< of each inner list at least one must be given
  std::vector<Option> takes;                       ///< further options
  std::map<Option, std::vector<std::string>> choices;  ///< allowed values of an option
  std::function<void(const Invocation&)> run;
  std::function<std::string()> settings_help;      ///< keys for --set, from config_help<T>(); may be empty
  bool on_gpu = false;                             ///< --kernels cuda is among its choices: its model can lie in a GPU's memory
};

struct App {
  std::string name;
  std::string summary;
  std::vector<Command> commands;
};

/// The only reader of a command line and the only place that catches everything. A user sees one line `error: ...` on `err`.
/// Returns 0 done; 1 a bug of ours; 2 wrong use or configuration; 3 files or environment; 4 numbers went wrong while training.
int run_app(const App& app, const std::vector<std::string>& args, std::ostream& out, std::ostream& err);

}  // namespace graft::pipelines
