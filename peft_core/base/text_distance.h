#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

/// How many characters must be inserted, deleted, replaced or swapped with their neighbour to turn `a` into `b`.
size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate that a person who typed `name` most likely meant; none if all are too far away (more than a third of the letters).
std::optional<std::string> nearest_name(std::string_view name, const std::vector<std::string>& candidates);

/// "a, b, c"
std::string join(const std::vector<std::string>& parts, std::string_view separator = ", ");

/// `did you mean "rank"? known: name, rank` for the hint of a Complaint about an unknown name.
std::string suggest(std::string_view name, const std::vector<std::string>& known);

}  // namespace graft
