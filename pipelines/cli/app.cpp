#include "pipelines/cli/app.h"

#include <algorithm>
#include <filesystem>
#include <new>

#include "kernels/base/cpu_features.h"
#include "kernels/base/error.h"
#include "peft_core/base/log.h"
#include "peft_core/base/text_distance.h"
#include "pipelines/build_info.h"
#include "pipelines/cli/option_table.h"

namespace graft::pipelines {
namespace {

const Command& find_command(const App& app, const std::string& name) {
  std::vector<std::string> known;
  for (const auto& command : app.commands) {
    if (command.name == name) return command;
    known.push_back(command.name);
  }
  throw InvalidArgument({.where = app.name, .what = "unknown command \"" + name + "\"", .hint = suggest(name, known)});
}

std::string shell_quoted(const std::string& word) {
  const auto plain = [](unsigned char c) { return std::isalnum(c) != 0 || std::string_view("-_./=,:+@%").find(static_cast<char>(c)) != std::string_view::npos; };
  if (!word.empty() && std::all_of(word.begin(), word.end(), plain)) return word;
  std::string quoted = "'";
  for (const char c : word) c == '\'' ? quoted += "'\\''" : quoted += c;
  return quoted + "'";
}

/// Of the processor's kernels; a command that can compute on a GPU finds it itself.
void choose_kernels(const App& app, const Command& command, const std::string& name) {
  using kernels::KernelChoice;
  if (name == "cuda" && !command.on_gpu) {
    std::vector<std::string> able;
    for (const auto& other : app.commands)
      if (other.on_gpu) able.push_back(other.name);
    throw Unavailable({.where = "--kernels cuda", .what = "is nothing that '" + command.name + "' of " + app.name + " can use",
                       .expected = able.empty() ? "" : "one of the commands " + join(able),
                       .hint = "--kernels auto takes the fastest kernels of the processor"});
  }
  kernels::choose_kernels(name == "reference" ? KernelChoice::kReference : name == "cpu" ? KernelChoice::kCpu : KernelChoice::kAuto);
}

void run_command(const App& app, const std::vector<std::string>& args, std::ostream& out, std::ostream& err) {
  const auto& command = find_command(app, args.front());
  Invocation call{.app = app.name, .command = command.name, .command_line = app.name, .out = &out, .err = &err};
  for (const auto& word : args) call.command_line += " " + shell_quoted(word);
  parse_options(command, {args.begin() + 1, args.end()}, call);
  if (call.help) {
    out << command_help(app, command);
    return;
  }
  choose_kernels(app, command, call.kernels);
  set_log_level(call.quiet ? LogLevel::kWarnings : LogLevel::kInfo);
  command.run(call);
}

void run_any(const App& app, const std::vector<std::string>& args, std::ostream& out, std::ostream& err) {
  if (args.empty()) throw InvalidArgument({.where = app.name, .what = "needs a command", .hint = "`" + app.name + " --help` lists them"});
  if (args.front() == "--help" || args.front() == "-h" || args.front() == "help") {
    out << app_help(app);
  } else if (args.front() == "--version") {
    out << app.name << " " << build_info().version << " (" << build_info().commit << ")\n";
  } else {
    run_command(app, args, out, err);
  }
  out.flush();
  if (!out) throw IoError({.where = "standard output", .what = "cannot be written"});
}

/// LibTorch puts a stack trace behind the first line.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

bool says_out_of_memory(const std::string& text) {
  return text.find("can't allocate memory") != std::string::npos || text.find("out of memory") != std::string::npos;
}

}  // namespace

int run_app(const App& app, const std::vector<std::string>& args, std::ostream& out, std::ostream& err) {
  const LogToStream redirect(err);
  const auto stop = [&](const std::string& line, int exit_code) {
    set_status_line("");
    err << "error: " << line << std::endl;
    return exit_code;
  };
  try {
    run_any(app, args, out, err);
    return 0;
  } catch (const Error& error) {
    return stop(error.what(), error.exit_code());
  } catch (const std::bad_alloc&) {
    return stop("out of memory; a smaller batch, shorter texts or base.quantize=nf4 need less", 3);
  } catch (const std::filesystem::filesystem_error& error) {
    return stop(error.what(), 3);
  } catch (const std::exception& error) {
    const auto line = first_line(error.what());
    return says_out_of_memory(line) ? stop("out of memory: " + line, 3) : stop("a bug in this program: " + line, 1);
  } catch (...) {
    return stop("a bug in this program: an exception without a message", 1);
  }
}

}  // namespace graft::pipelines
