#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace graft::data {

/// A regular expression in the syntax and with the character classes that the Hugging Face library uses (Oniguruma,
/// Unicode 16), run by PCRE2 with its just-in-time compiler. Thread-safe.
class UnicodeRegex {
 public:
  /// `where` names the place in error messages. Throws InvalidArgument if the pattern is malformed or unsupported.
  UnicodeRegex(std::string_view pattern, const std::string& where);
  static UnicodeRegex literal(std::string_view text, const std::string& where);

  /// Calls visit(begin, end) for each match from left to right. `text` must be valid UTF-8.
  /// Throws InvalidArgument if the pattern needs too much work on this text.
  void for_each_match(std::string_view text, const std::function<void(size_t, size_t)>& visit) const;

 private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
};

/// The pattern rewritten for PCRE2: Oniguruma's meaning of \s \w \d \h, and letters, digits and marks that Unicode 15 to 16
/// added, which PCRE2's own tables may lack. Exposed for tests.
std::string pcre2_pattern(std::string_view pattern, const std::string& where);

}  // namespace graft::data
