#pragma once

// Internal to data_loaders/cloud.

#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>

namespace graft::data {

/// A number as text files write them: "1.5", "-2e3", "+7", "nan", "inf". Nothing if the word is not wholly a number; what is beyond
/// double's range counts as no finite number.
inline std::optional<double> number_in(std::string_view word) {
  if (word.starts_with('+')) word.remove_prefix(1);
  double value = 0;
  const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (end != word.data() + word.size() || word.empty()) return std::nullopt;
  if (problem == std::errc::result_out_of_range) return HUGE_VAL;
  return problem == std::errc() ? std::optional(value) : std::nullopt;
}

inline std::optional<int64_t> integer_in(std::string_view word) {
  if (word.starts_with('+')) word.remove_prefix(1);
  int64_t value = 0;
  const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (problem != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return value;
}

/// Takes lines and words off a text.
class TextScanner {
 public:
  explicit TextScanner(std::string_view text) : rest_(text) {}

  /// The next line without its end (\n, \r\n or \r); nothing at the end of the text.
  std::optional<std::string_view> line() {
    if (rest_.empty()) return std::nullopt;
    const auto end = rest_.find_first_of("\r\n");
    const auto line = rest_.substr(0, end);
    if (end == std::string_view::npos) {
      rest_ = {};
    } else {
      rest_.remove_prefix(end + (rest_.substr(end).starts_with("\r\n") ? 2 : 1));
    }
    ++lines_;
    return line;
  }
  /// The next word between blanks; `also` are further separators. Empty at the end.
  std::string_view word(std::string_view also = {}) {
    const auto blank = [&](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || also.find(c) != std::string_view::npos; };
    size_t begin = 0;
    while (begin < rest_.size() && blank(rest_[begin])) ++begin;
    size_t end = begin;
    while (end < rest_.size() && !blank(rest_[end])) ++end;
    const auto word = rest_.substr(begin, end - begin);
    rest_.remove_prefix(end);
    return word;
  }
  std::string_view rest() const { return rest_; }
  int64_t lines() const { return lines_; }  ///< taken so far

 private:
  std::string_view rest_;
  int64_t lines_ = 0;
};

}  // namespace graft::data
