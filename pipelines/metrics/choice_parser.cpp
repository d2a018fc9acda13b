#include "pipelines/metrics/choice_parser.h"

#include <algorithm>
#include <array>
#include <set>

#include "data_loaders/text/unicode_text.h"
#include "data_loaders/text/word_tokens.h"

namespace graft::pipelines {
namespace {

using Letters = std::set<size_t>;

constexpr std::array<std::string_view, 5> kAnswerWords{"answer", "答案", "故选", "应选", "\\boxed"};
constexpr std::array<std::string_view, 10> kChoiceWords{"option", "choice", "choose", "pick",  "select",
                                                        "选项",   "选择",   "选",     "it is", "it's"};
/// Between such a word and the letter.
constexpr std::array<std::string_view, 18> kFillers{"s ",      "is",   "are", "was",    "be",      "would",
                                                    "should",  "will", "the", "option", "correct", "letter",
                                                    "choices", "是",   "为",  "应",     "项",      "择"};
constexpr std::array<std::string_view, 12> kJoins{",", "、", ";", "/", "&", "+", "and", "or", "和", "与", "及", "或"};
constexpr std::string_view kOpeners = " \t\r\n*_`\"'([{$:=";
constexpr std::string_view kClosers = "*_`\"')]}$.";

bool is_letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }
bool is_word_byte(char c) { return is_letter(c) || (c >= '0' && c <= '9'); }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

/// Full-width letters, brackets and Roman numeral signs become plain ones.
std::string plain_form(std::string_view text) {
  return data::normal_form(data::valid_utf8(text), data::NormalForm::kNfkc);
}

size_t roman_value(std::string_view word) {
  static constexpr std::array<std::string_view, 12> kNumerals{"I",   "II",   "III", "IV", "V",  "VI",
                                                              "VII", "VIII", "IX",  "X",  "XI", "XII"};
  std::string upper(word);
  for (char& c : upper) c = c >= 'a' ? static_cast<char>(c - 32) : c;
  const auto found = std::find(kNumerals.begin(), kNumerals.end(), upper);
  return found == kNumerals.end() ? 0 : static_cast<size_t>(found - kNumerals.begin()) + 1;
}

enum class Place { kAfterMark, kFree };

/// Reads letters from a place in the text on.
class LetterReader {
 public:
  LetterReader(std::string_view text, size_t at, size_t option_count, Place place)
      : text_(text), at_(at), count_(option_count), place_(place) {}

  Letters read() {
    skip_any_of(kOpeners);
    while (read_item()) {
      if (!skip_join()) break;
    }
    return found_;
  }

 private:
  char char_at(size_t at) const { return at < text_.size() ? text_[at] : '\n'; }
  void skip_any_of(std::string_view set) {
    while (at_ < text_.size() && set.find(text_[at_]) != std::string_view::npos) ++at_;
  }
  bool read_item() {
    size_t end = at_;
    while (end < text_.size() && is_letter(text_[end])) ++end;
    const std::string_view word = text_.substr(at_, end - at_);
    const Letters letters = is_word_byte(char_at(end)) ? Letters() : letters_of(word, end);
    if (letters.empty()) return false;
    found_.insert(letters.begin(), letters.end());
    at_ = end;
    return true;
  }
  Letters letters_of(std::string_view word, size_t end) const {
    const bool upper = std::all_of(word.begin(), word.end(), [](char c) { return c <= 'Z'; });
    if (word.empty() || word.size() > 26 || (!upper && !may_be_lower(word, end))) return {};
    if (word.size() == 1 && opens_a_sentence(word, end)) return {};
    Letters letters;
    for (const char c : word) letters.insert(static_cast<size_t>(lower(c) - 'a'));
    const bool distinct_options =
        letters.size() == word.size() && *letters.rbegin() < count_ && (upper || word.size() == 1);
    if (distinct_options) return letters;
    const size_t roman = roman_value(word);
    return roman >= 1 && roman <= count_ ? Letters{roman - 1} : Letters();
  }
  /// "b", "(iii)", but not the article in "a plant".
  bool may_be_lower(std::string_view word, size_t end) const {
    const char next = char_at(end);
    const bool ends = next == '\n' || kClosers.find(next) != std::string_view::npos || next == ',';
    return std::all_of(word.begin(), word.end(), [](char c) { return c >= 'a'; }) && (ends || roman_value(word) > 1);
  }
  /// "A plant grows", "I think": a word of one letter, then another word.
  bool opens_a_sentence(std::string_view word, size_t end) const {
    if (place_ == Place::kAfterMark || (word != "A" && word != "I") || char_at(end) != ' ') return false;
    const std::string_view rest = text_.substr(std::min(end + 1, text_.size()));
    return !rest.empty() && rest.front() >= 'a' && rest.front() <= 'z' && !rest.starts_with("and ") &&
           !rest.starts_with("or ");
  }
  /// Moves to where the next letter could stand; false at the end of the list.
  bool skip_join() {
    skip_any_of(kClosers);
    bool joined = false, again = true;
    while (again) {
      skip_any_of(" \t");
      again = false;
      for (const auto join : kJoins) {
        if (!text_.substr(at_).starts_with(join) ||
            (is_letter(join.front()) && is_word_byte(char_at(at_ + join.size()))))
          continue;
        at_ += join.size();
        joined = again = true;
      }
    }
    skip_any_of("*_`\"'([{$");
    return joined || (is_letter(char_at(at_)) && char_at(at_) != 'A' && char_at(at_) != 'I' && char_at(at_) <= 'Z');
  }

  std::string_view text_;
  size_t at_, count_;
  Place place_;
  Letters found_;
};

std::string to_letters(const Letters& letters) {
  std::string text;
  for (const size_t index : letters) text += static_cast<char>('A' + index);
  return text;
}

size_t skip_fillers(std::string_view lowered, size_t at) {
  for (bool again = true; again;) {
    while (at < lowered.size() && kOpeners.find(lowered[at]) != std::string_view::npos) ++at;
    again = false;
    for (const auto filler : kFillers) {
      const bool whole = !is_letter(filler.front()) || filler.back() == ' ' || at + filler.size() >= lowered.size() ||
                         !is_word_byte(lowered[at + filler.size()]);
      if (!lowered.substr(at).starts_with(filler) || !whole) continue;
      at += filler.size();
      again = true;
      break;
    }
  }
  return at;
}

/// What follows the last of the words that letters follow.
template <size_t N>
Letters after_words(std::string_view text, const std::array<std::string_view, N>& words, size_t option_count) {
  std::string lowered(text);
  std::transform(lowered.begin(), lowered.end(), lowered.begin(), lower);
  Letters best;
  size_t best_at = 0;
  for (const auto word : words) {
    for (size_t at = lowered.find(word); at != std::string::npos; at = lowered.find(word, at + 1)) {
      size_t after = at + word.size();
      if (word == "answer" && after < lowered.size() && lowered[after] == 's') ++after;
      const auto letters = LetterReader(text, skip_fillers(lowered, after), option_count, Place::kAfterMark).read();
      if (letters.empty() || (!best.empty() && at < best_at)) continue;
      best = letters;
      best_at = at;
    }
  }
  return best;
}

/// Letters at the start of the text, and of each later line that begins like "C. ".
Letters at_line_starts(std::string_view text, size_t option_count) {
  Letters letters = LetterReader(text, 0, option_count, Place::kFree).read();
  if (letters.empty()) return letters;
  for (size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) {
    const size_t mark = text.find_first_not_of(" \t\r\n*(", at);
    const bool labelled = mark != std::string_view::npos && mark + 1 < text.size() &&
                          std::string_view(".):").find(text[mark + 1]) != std::string_view::npos;
    if (!labelled || text[mark] < 'A' || text[mark] > 'Z') continue;
    if (const auto index = static_cast<size_t>(text[mark] - 'A'); index < option_count) letters.insert(index);
  }
  return letters;
}

Letters same_as_option(std::string_view text, const std::vector<std::string>& options) {
  const std::string form = data::comparison_form(text);
  for (size_t i = 0; i < options.size(); ++i) {
    if (!form.empty() && data::comparison_form(options[i]) == form) return {i};
  }
  return {};
}

/// "(B)" or "**B**" somewhere, if there is only one such letter.
Letters marked_letter(std::string_view text, size_t option_count) {
  Letters letters;
  for (size_t i = 1; i + 1 < text.size(); ++i) {
    const bool marked = (text[i - 1] == '(' && text[i + 1] == ')') || (text[i - 1] == '*' && text[i + 1] == '*') ||
                        (text[i - 1] == '[' && text[i + 1] == ']');
    if (!marked || text[i] < 'A' || text[i] > 'Z') continue;
    if (const auto index = static_cast<size_t>(text[i] - 'A'); index < option_count) letters.insert(index);
  }
  return letters.size() == 1 ? letters : Letters();
}

}  // namespace

std::string_view without_thinking(std::string_view text) {
  constexpr std::string_view kOpen = "<think>", kClose = "</think>";
  if (const auto close = text.rfind(kClose); close != std::string_view::npos) text.remove_prefix(close + kClose.size());
  return text.find(kOpen) == std::string_view::npos ? text : std::string_view();
}

std::optional<std::string> parse_choice(std::string_view text, size_t option_count,
                                        const std::vector<std::string>& options) {
  const std::string answer = plain_form(without_thinking(text));
  Letters letters = after_words(answer, kAnswerWords, option_count);
  if (letters.empty()) letters = same_as_option(answer, options);
  if (letters.empty()) letters = at_line_starts(answer, option_count);
  if (letters.empty()) letters = after_words(answer, kChoiceWords, option_count);
  if (letters.empty()) letters = marked_letter(answer, option_count);
  if (letters.empty()) return std::nullopt;
  return to_letters(letters);
}

}  // namespace graft::pipelines
