#include "peft_core/slots/targets.h"

#include <algorithm>
#include <regex>
#include <set>

#include "kernels/base/error.h"
#include "peft_core/base/text_distance.h"

namespace graft::peft {
namespace {

bool is_expression(const std::string& pattern) { return pattern.find_first_of("*+?()[]{}|\\^$") != std::string::npos; }

// The library's compiler calls itself for every term and group, so a long or deep pattern out of a file could exhaust the stack.
void expect_modest(const std::string& pattern, const std::string& where) {
  constexpr size_t kMostCharacters = 2000;
  constexpr int64_t kMostGroups = 50;
  const auto groups = std::count(pattern.begin(), pattern.end(), '(');
  if (pattern.size() <= kMostCharacters && groups <= kMostGroups) return;
  throw InvalidArgument({.where = where, .what = "holds a regular expression that is too large", .expected = "at most 2,000 characters and 50 groups",
                         .got = std::to_string(pattern.size()) + " characters and " + std::to_string(groups) + " groups"});
}

std::regex compiled(const std::string& pattern, const std::string& where) {
  expect_modest(pattern, where);
  try {
    return std::regex(pattern, std::regex::ECMAScript | std::regex::optimize);
  } catch (const std::regex_error& error) {
    throw InvalidArgument({.where = where, .what = "is no valid regular expression", .got = "'" + pattern + "'",
                           .hint = error.what()});
  }
}

bool matches(const std::string& name, const std::regex& expression, const std::string& where) {
  try {
    return std::regex_match(name, expression);
  } catch (const std::regex_error& error) {
    throw InvalidArgument({.where = where, .what = "holds a regular expression that is too complex", .hint = error.what()});
  }
}

bool ends_with_name(const std::string& name, const std::string& end) {
  return name == end || name.ends_with("." + end);
}

std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }

std::vector<std::string> known_endings(const Places& places) {
  std::set<std::string> endings{"all-linear"};
  for (const auto* slot : places.linears) endings.insert(last_part(slot->name()));
  if (places.head != nullptr) endings.insert(last_part(places.head->name()));
  return {endings.begin(), endings.end()};
}

[[noreturn]] void matches_nothing(const Places& places, const std::string& pattern, const std::string& where) {
  const auto known = known_endings(places);
  throw InvalidArgument({.where = where, .what = "'" + pattern + "' matches no linear layer of this model",
                         .expected = "the end of a layer's name, or a regular expression over the whole name",
                         .hint = suggest(pattern, known)});
}

}  // namespace

std::vector<LinearSlot*> matching_linears(const Places& places, const std::vector<std::string>& patterns,
                                          const std::string& where) {
  if (patterns.empty())
    throw InvalidArgument({.where = where, .what = "names no layer", .hint = "write all-linear, or names such as [q_proj, v_proj]"});
  auto candidates = places.linears;
  if (places.head != nullptr) candidates.push_back(places.head);

  std::set<const LinearSlot*> chosen;
  for (const auto& pattern : patterns) {
    std::function<bool(const LinearSlot*)> fits;
    if (pattern == "all-linear") {
      fits = [&](const LinearSlot* slot) { return slot != places.head; };
    } else if (is_expression(pattern)) {
      fits = [&where, expression = compiled(pattern, where)](const LinearSlot* slot) { return matches(slot->name(), expression, where); };
    } else {
      fits = [&](const LinearSlot* slot) { return ends_with_name(slot->name(), pattern); };
    }
    bool any = false;
    for (const auto* slot : candidates)
      if (fits(slot)) any = true, chosen.insert(slot);
    if (!any) matches_nothing(places, pattern, where);
  }
  std::erase_if(candidates, [&](const LinearSlot* slot) { return !chosen.contains(slot); });
  return candidates;
}

bool pattern_matches_end(const std::string& pattern, const std::string& name) {
  return matches(name, compiled("(.*\\.)?(" + pattern + ")", "rank_pattern"), "rank_pattern");
}

}  // namespace graft::peft
