#include <algorithm>

#include "peft_core/base/text_distance.h"
#include "pipelines/cli/option_table.h"

namespace graft::pipelines {
namespace {

std::string padded(std::string text, size_t width) {
  text.append(text.size() < width ? width - text.size() : 1, ' ');
  return text;
}

std::string with_value(const OptionRow& row) { return row.value.empty() ? row.spelling : row.spelling + " " + row.value; }

std::string usage_of_needs(const Command& command) {
  std::string text;
  for (const auto& alternatives : command.needs) {
    std::vector<std::string> parts;
    for (const auto option : alternatives) parts.push_back(with_value(row_of(option)));
    text += parts.size() == 1 ? " " + parts.front() : " (" + join(parts, " | ") + ")";
  }
  return text;
}

}  // namespace

std::string app_help(const App& app) {
  std::string text = app.name + ": " + app.summary + "\n\nusage: " + app.name + " COMMAND [OPTION...]\n\ncommands:\n";
  size_t width = 0;
  for (const auto& command : app.commands) width = std::max(width, command.name.size());
  for (const auto& command : app.commands) text += "  " + padded(command.name, width + 2) + command.summary + "\n";
  text += "\n`" + app.name + " COMMAND --help` lists a command's options, `" + app.name + " --version` the version.\n";
  text += "Results go to stdout, messages to stderr. Exit codes: 0 done, 1 a bug, 2 wrong use or configuration,\n";
  text += "3 files or environment, 4 numbers went wrong while training.\n";
  return text;
}

std::string command_help(const App& app, const Command& command) {
  std::string text = app.name + " " + command.name + ": " + command.summary + "\n\nusage: " + app.name + " " + command.name;
  text += usage_of_needs(command) + " [OPTION...]\n\noptions:\n";
  for (const auto& row : option_table()) {
    if (!command_takes(command, row.option)) continue;
    text += "  " + padded(with_value(row), 28) + row.help;
    const auto& choices = choices_of(command, row);
    if (!choices.empty()) text += ": " + join(choices);
    text += "\n";
  }
  if (command.settings_help) text += "\nsettings, with their defaults (for --set and --config):\n" + command.settings_help();
  return text;
}

}  // namespace graft::pipelines
