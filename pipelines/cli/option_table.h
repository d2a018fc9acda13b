#pragma once

#include <string>
#include <variant>
#include <vector>

#include "pipelines/cli/app.h"

namespace graft::pipelines {

/// One row an option: how it is spelled and where its value goes. The member's type says how many values it takes and of what kind.
struct OptionRow {
  using Member = std::variant<bool Invocation::*, std::string Invocation::*, std::vector<std::string> Invocation::*,
                              std::optional<int64_t> Invocation::*, std::optional<double> Invocation::*>;
  Option option;
  std::string spelling;
  std::string value;  ///< for the help text; empty for switches
  std::string help;
  Member member;
  std::vector<std::string> choices = {};  ///< allowed values, the same for all commands; empty: the command says, or any
};

const std::vector<OptionRow>& option_table();
/// The values that an option may have with this command; empty: any.
const std::vector<std::string>& choices_of(const Command& command, const OptionRow& row);
const OptionRow& row_of(Option option);
bool command_takes(const Command& command, Option option);

/// Throws InvalidArgument for an unknown option, a missing one, or a value that cannot be.
void parse_options(const Command& command, const std::vector<std::string>& args, Invocation& call);

std::string app_help(const App& app);
std::string command_help(const App& app, const Command& command);

}  // namespace graft::pipelines
