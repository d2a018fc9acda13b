#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>

#include "kernels/base/error.h"
#include "peft_core/base/text_distance.h"
#include "pipelines/cli/option_table.h"

namespace graft::pipelines {
namespace {

using Texts = std::vector<std::string>;

template <class Number>
Number parse_number(const OptionRow& row, const std::string& text, const char* expected) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && std::isfinite(static_cast<double>(value))) return value;
  throw InvalidArgument({.where = row.spelling, .what = "has a value of the wrong kind", .expected = expected, .got = "\"" + text + "\""});
}

/// Puts what was typed where it belongs.
struct Assign {
  const OptionRow& row;
  Invocation& call;
  Texts values;

  void operator()(bool Invocation::*member) const { call.*member = true; }
  void operator()(std::string Invocation::*member) const { call.*member = values.front(); }
  void operator()(Texts Invocation::*member) const { call.*member = values; }
  void operator()(std::optional<int64_t> Invocation::*member) const {
    call.*member = parse_number<int64_t>(row, values.front(), "a whole number");
  }
  void operator()(std::optional<double> Invocation::*member) const {
    call.*member = parse_number<double>(row, values.front(), "a number");
  }
};

struct Typed {
  const OptionRow* row;
  CLI::Option* option = nullptr;
  std::string one;
  Texts many;
  // One value is bound to a string: CLI11 would split "[a, b]" that goes into a list.
  bool takes_many() const { return std::holds_alternative<Texts Invocation::*>(row->member); }
  Texts values() const { return takes_many() ? many : Texts{one}; }
};

void declare(CLI::App& parser, Typed& typed) {
  const auto& row = *typed.row;
  if (std::holds_alternative<bool Invocation::*>(row.member)) {
    typed.option = parser.add_flag(row.spelling);
  } else if (typed.takes_many()) {
    typed.option = parser.add_option(row.spelling, typed.many);
  } else {
    typed.option = parser.add_option(row.spelling, typed.one)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }
}

void parse_words(CLI::App& parser, const Command& command, const Texts& args) {
  try {
    parser.parse(Texts(args.rbegin(), args.rend()));
  } catch (const CLI::ArgumentMismatch& error) {
    const std::string text = error.what();
    throw InvalidArgument({.where = command.name, .what = text.substr(0, text.find(':')) + " needs a value"});
  } catch (const CLI::Error& error) {
    throw InvalidArgument({.where = command.name, .what = error.what()});
  }
}

void reject_extras(const Command& command, const Texts& extras) {
  if (extras.empty()) return;
  const auto word = extras.front().substr(0, extras.front().find('='));
  Texts known;
  for (const auto& row : option_table()) {
    if (command_takes(command, row.option)) known.push_back(row.spelling);
  }
  if (!word.starts_with("-")) {
    throw InvalidArgument({.where = command.name, .what = "does not know what \"" + word + "\" belongs to", .hint = "options: " + join(known)});
  }
  throw InvalidArgument({.where = command.name, .what = "unknown option " + word, .hint = suggest(word, known)});
}

void check_choices(const Command& command, const Typed& typed) {
  const auto& allowed = choices_of(command, *typed.row);
  if (allowed.empty()) return;
  if (std::find(allowed.begin(), allowed.end(), typed.one) != allowed.end()) return;
  throw InvalidArgument({.where = typed.row->spelling, .what = "is \"" + typed.one + "\"", .hint = suggest(typed.one, allowed)});
}

void check_needs(const Command& command, const Invocation& call) {
  for (const auto& alternatives : command.needs) {
    if (std::any_of(alternatives.begin(), alternatives.end(), [&](Option option) { return call.has(option); })) continue;
    Texts spellings;
    for (const auto option : alternatives) spellings.push_back(row_of(option).spelling + " " + row_of(option).value);
    throw InvalidArgument({.where = command.name, .what = "needs " + join(spellings, " or ")});
  }
}

void resolve_config(Invocation& call) {
  if (call.has(Option::kConfig)) call.config = ConfigNode::load(call.config_file);
  if (call.has(Option::kMethod)) call.config.set("method.name", call.method, "--method");
  if (call.has(Option::kSeed)) call.config.set("train.seed", std::to_string(*call.seed), "--seed");
  for (const auto& setting : call.settings) call.config.set(setting);
}

}  // namespace

void parse_options(const Command& command, const Texts& args, Invocation& call) {
  CLI::App parser;
  parser.set_help_flag();
  parser.allow_extras();
  std::vector<Typed> all;
  for (const auto& row : option_table()) {
    if (command_takes(command, row.option)) all.push_back({&row});
  }
  for (auto& typed : all) declare(parser, typed);
  parse_words(parser, command, args);
  reject_extras(command, parser.remaining());
  for (const auto& typed : all) {
    if (typed.option->count() == 0) continue;
    if (!typed.takes_many() && typed.option->count() > 1) {
      throw InvalidArgument({.where = command.name, .what = typed.row->spelling + " is given more than once"});
    }
    check_choices(command, typed);
    call.given.insert(typed.row->option);
    std::visit(Assign{*typed.row, call, typed.values()}, typed.row->member);
  }
  if (call.help) return;
  check_needs(command, call);
  resolve_config(call);
}

}  // namespace graft::pipelines
