#include <algorithm>
#include <string>

#include "data_loaders/text/clean_text.h"
#include "data_loaders/text/raw_rows.h"
#include "kernels/base/error.h"

namespace graft::data {
namespace {

using nlohmann::json;

constexpr std::string_view kBlank = " \t\r\n";

/// Follows strings and brackets through a JSON text without judging the rest of the grammar.
class BracketScanner {
 public:
  void feed(char c) {
    if (in_string_) return feed_string(c);
    switch (c) {
      case '"':
        in_string_ = true;
        break;
      case '{':
      case '[':
        ++depth_;
        ++values_;
        deepest_ = std::max(deepest_, depth_);
        break;
      case '}':
      case ']':
        --depth_;
        break;
      case ',':
        ++values_;
        break;
      default:
        break;
    }
  }
  bool in_string() const { return in_string_; }
  int64_t depth() const { return depth_; }
  int64_t deepest() const { return deepest_; }
  int64_t values() const { return values_; }

 private:
  void feed_string(char c) {
    if (escaped_)
      escaped_ = false;
    else if (c == '\\')
      escaped_ = true;
    else if (c == '"')
      in_string_ = false;
  }
  bool in_string_ = false, escaped_ = false;
  int64_t depth_ = 0, deepest_ = 0, values_ = 0;
};

std::string parser_reason(const json::exception& error) {
  std::string_view text = error.what();  // "[json.exception.parse_error.101] parse error at line 1, column 8: ..."
  if (const auto end = text.find("] "); text.starts_with("[json.") && end != std::string_view::npos)
    text.remove_prefix(end + 2);
  return "no valid JSON: " + excerpt(text, 160);
}

int64_t count_lines(std::string_view text) { return std::count(text.begin(), text.end(), '\n'); }

void for_each_line(std::string_view text, const RowSink& sink) {
  RowPlace place;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++place.line;
    if (line.find_first_not_of(kBlank) == std::string_view::npos) continue;
    ++place.row;
    sink(place, parse_row_json(line));
  }
}

/// Reads `[ value, value ]`; each value is parsed on its own, so that one broken object costs one row.
class ArrayReader {
 public:
  ArrayReader(std::string_view text, const std::filesystem::path& file, const RowSink& sink)
      : text_(text), file_(file), sink_(sink) {}

  void read() {
    at_ = text_.find('[') + 1;
    place_.line = 1 + count_lines(text_.substr(0, at_));
    skip_blank();
    if (at_ < text_.size() && text_[at_] == ']') return finish();
    while (true) {
      skip_blank();
      ++place_.row;
      const std::string_view element = take_element();
      sink_(place_, parse_row_json(element));
      place_.line += count_lines(element);
      if (text_[at_++] == ']') {
        --at_;
        return finish();
      }
    }
  }

 private:
  void skip_blank() {
    while (at_ < text_.size() && kBlank.find(text_[at_]) != std::string_view::npos) place_.line += text_[at_++] == '\n';
  }
  std::string_view take_element() {
    BracketScanner scanner;
    const size_t begin = at_;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (!scanner.in_string() && scanner.depth() == 0 && (c == ',' || c == ']'))
        return text_.substr(begin, at_ - begin);
      scanner.feed(c);
      if (scanner.depth() < 0) break;
    }
    fail(scanner.depth() < 0 ? "a bracket closes what was never opened"
                             : "the JSON array is not closed; is the file truncated?");
  }
  void finish() {
    ++at_;
    skip_blank();
    if (at_ < text_.size()) fail("text after the end of the JSON array");
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw IoError({.where = file_.string() + ":" + std::to_string(place_.line), .what = what});
  }

  std::string_view text_;
  const std::filesystem::path& file_;
  const RowSink& sink_;
  size_t at_ = 0;
  RowPlace place_;
};

/// True if the text is one object, perhaps over several lines, and nothing else.
bool is_one_object(std::string_view text) {
  BracketScanner scanner;
  for (size_t i = 0; i < text.size(); ++i) {
    scanner.feed(text[i]);
    if (scanner.depth() == 0 && !scanner.in_string() && text[i] == '}') {
      return text.find_first_not_of(kBlank, i + 1) == std::string_view::npos;
    }
  }
  return false;
}

}  // namespace

RawRow parse_row_json(std::string_view text) {
  if (text.size() > kMaxRowBytes)
    return RawRow::failure("a row of " + std::to_string(text.size()) + " bytes; at most 16 MiB are read");
  BracketScanner scanner;
  for (const char c : text) scanner.feed(c);
  if (scanner.deepest() > kMaxRowDepth)
    return RawRow::failure("JSON nested deeper than " + std::to_string(kMaxRowDepth) + " levels");
  if (scanner.values() > kMaxRowValues) return RawRow::failure("more than a million JSON values in one row");
  if (const size_t bad = find_invalid_utf8(text); bad != std::string_view::npos) {
    return RawRow::failure("invalid UTF-8 at byte " + std::to_string(bad) + " of the row");
  }
  try {
    return json::parse(text.begin(), text.end());
  } catch (const json::exception& error) {
    return RawRow::failure(parser_reason(error));
  }
}

void for_each_json_row(std::string_view text, const std::filesystem::path& file, const RowSink& sink) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return;
  if (text[first] == '[') return ArrayReader(text, file, sink).read();
  const size_t line_end = std::min(text.find('\n', first), text.size());
  const bool first_line_is_whole = is_one_object(text.substr(first, line_end - first));
  if (text[first] == '{' && !first_line_is_whole && is_one_object(text.substr(first))) {
    return sink({.line = 1 + count_lines(text.substr(0, first)), .row = 1}, parse_row_json(text.substr(first)));
  }
  for_each_line(text, sink);
}

}  // namespace graft::data
