#include "data_loaders/text/option_text.h"

#include <algorithm>
#include <array>

#include "data_loaders/text/clean_text.h"

namespace graft::data {
namespace {

constexpr std::string_view kSpace = " \t\r\n";
constexpr std::array<std::string_view, 8> kAfterLetter{".", ")", ":", "、", "．", "：", "）", "，"};
constexpr std::array<std::string_view, 13> kBetweenLetters{" ", ",", ";", "/",  "&",  "+", "(",
                                                           ")", "[", "]", "，", "、", "；"};

std::string_view trim(std::string_view text) {
  const auto begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

/// The text after "A." where `letter` is A; nothing if the line does not begin like that.
std::optional<std::string_view> option_after(std::string_view line, char letter) {
  line = trim(line);
  const bool bracketed = line.starts_with("(") || line.starts_with("（");
  if (bracketed) line.remove_prefix(line.starts_with("(") ? 1 : std::string_view("（").size());
  if (line.empty() || line.front() != letter) return std::nullopt;
  line.remove_prefix(1);
  for (const auto mark : kAfterLetter) {
    if (line.starts_with(mark)) return trim(line.substr(mark.size()));
  }
  return std::nullopt;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

std::vector<std::string> choices_from(const std::vector<std::string_view>& lines, size_t first) {
  std::vector<std::string> choices;
  for (size_t i = first; i < lines.size(); ++i) {
    const char letter = static_cast<char>('A' + choices.size());
    if (const auto option = choices.size() < 26 ? option_after(lines[i], letter) : std::nullopt) {
      choices.emplace_back(*option);
    } else {
      choices.back().append("\n").append(trim(lines[i]));
    }
  }
  for (auto& choice : choices) choice = std::string(trim(choice));
  return choices;
}

/// Splits "D, A" into its parts; the separators of kBetweenLetters and the words "and", "和" fall away.
std::vector<std::string> answer_parts(std::string_view answer) {
  std::vector<std::string> parts(1);
  while (!answer.empty()) {
    const auto mark =
        std::find_if(kBetweenLetters.begin(), kBetweenLetters.end(), [&](auto m) { return answer.starts_with(m); });
    if (mark != kBetweenLetters.end()) {
      if (!parts.back().empty()) parts.emplace_back();
      answer.remove_prefix(mark->size());
    } else {
      parts.back() += answer.front();
      answer.remove_prefix(1);
    }
  }
  std::erase_if(parts, [](const std::string& part) { return part.empty() || part == "and" || part == "和"; });
  return parts;
}

std::optional<size_t> index_of(std::string_view what, const std::vector<std::string>& where) {
  const auto found = std::find(where.begin(), where.end(), what);
  if (found == where.end()) return std::nullopt;
  return static_cast<size_t>(found - where.begin());
}

/// Indices that one part names: a label, or a run of one-letter labels such as "ACD".
std::vector<size_t> indices_of(const std::string& part, const std::vector<std::string>& labels) {
  if (const auto whole = index_of(part, labels)) return {*whole};
  std::vector<size_t> found;
  for (const char c : part) {
    const auto index = index_of(std::string_view(&c, 1), labels);
    if (!index) return {};
    found.push_back(*index);
  }
  return found;
}

}  // namespace

std::optional<OptionText> split_options(std::string_view text) {
  const auto lines = lines_of(text);
  for (size_t first = lines.size(); first-- > 0;) {
    if (!option_after(lines[first], 'A')) continue;
    auto choices = choices_from(lines, first);
    if (choices.size() < 2) return std::nullopt;
    const auto stem_end = static_cast<size_t>(lines[first].data() - text.data());
    return OptionText{std::string(trim(text.substr(0, stem_end))), std::move(choices)};
  }
  return std::nullopt;
}

Result<std::string> gold_letters(std::string_view answer, const std::vector<std::string>& labels,
                                 const std::vector<std::string>& choices) {
  answer = trim(answer);
  std::string letters;
  for (const auto& part : answer_parts(answer)) {
    const auto indices = indices_of(part, labels);
    if (indices.empty()) {
      letters.clear();
      break;
    }
    for (const size_t index : indices) letters += static_cast<char>('A' + index);
  }
  if (letters.empty()) {
    const auto same_text = index_of(answer, choices);
    if (!same_text) return Result<std::string>::failure("answer \"" + excerpt(answer, 40) + "\" names no option");
    letters = std::string(1, static_cast<char>('A' + *same_text));
  }
  std::sort(letters.begin(), letters.end());
  letters.erase(std::unique(letters.begin(), letters.end()), letters.end());
  return letters;
}

std::vector<std::string> letter_labels(size_t count) {
  std::vector<std::string> labels;
  for (size_t i = 0; i < count; ++i) labels.emplace_back(1, static_cast<char>('A' + i));
  return labels;
}

}  // namespace graft::data
