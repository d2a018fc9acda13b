#include "pipelines/metrics/answer_scores.h"

#include <algorithm>
#include <map>

#include "data_loaders/text/unicode_text.h"
#include "data_loaders/text/word_tokens.h"

namespace graft::pipelines {
namespace {

bool is_ascii_punctuation(char32_t code) {
  return (code >= 0x21 && code <= 0x2F) || (code >= 0x3A && code <= 0x40) || (code >= 0x5B && code <= 0x60) ||
         (code >= 0x7B && code <= 0x7E);
}

/// Marks that only Chinese and Japanese text uses, full-width forms, and (in such text) dashes, dots and curly quotes.
bool is_undivided_punctuation(char32_t code, bool undivided_text) {
  const bool own = (code >= 0x3001 && code <= 0x3003) || (code >= 0x3008 && code <= 0x3011) ||
                   (code >= 0x3014 && code <= 0x301F) || (code >= 0xFF01 && code <= 0xFF0F) ||
                   (code >= 0xFF1A && code <= 0xFF20) || (code >= 0xFF3B && code <= 0xFF40) ||
                   (code >= 0xFF5B && code <= 0xFF65);
  return own || (undivided_text && (code == 0xB7 || (code >= 0x2010 && code <= 0x2027)));
}

/// What Python's str.split() takes for space: Unicode's white space and four separators of ASCII.
bool is_space(char32_t code) { return data::is_white_space(code) || (code >= 0x1C && code <= 0x1F); }

std::u32string code_points(const std::string& text) {
  std::u32string codes;
  for (size_t at = 0; at < text.size(); at += data::character_length(text, at)) codes += data::code_point_at(text, at);
  return codes;
}

double f_measure(size_t common, size_t predicted, size_t gold) {
  if (predicted == 0 || gold == 0) return predicted == gold ? 1.0 : 0.0;
  return 2.0 * static_cast<double>(common) / static_cast<double>(predicted + gold);  // = 2PR / (P + R)
}

size_t common_count(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  std::map<std::string_view, size_t> left;
  for (const auto& word : b) ++left[word];
  size_t common = 0;
  for (const auto& word : a) {
    const auto found = left.find(word);
    if (found == left.end() || found->second == 0) continue;
    --found->second;
    ++common;
  }
  return common;
}

size_t common_subsequence(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  std::vector<size_t> row(b.size() + 1, 0);  // row[j]: the longest for the words of a so far and the first j of b
  for (const auto& word : a) {
    size_t diagonal = 0;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = word == b[j - 1] ? diagonal + 1 : std::max(row[j - 1], above);
      diagonal = above;
    }
  }
  return row.back();
}

template <class Score>
double best_over(const std::vector<std::string>& gold, Score score) {
  double best = gold.empty() ? score(std::string()) : 0.0;
  for (const auto& answer : gold) best = std::max(best, score(answer));
  return best;
}

}  // namespace

std::vector<std::string> answer_words(std::string_view text) {
  const auto codes = code_points(data::lower_case(data::valid_utf8(text)));
  const bool undivided_text =
      std::any_of(codes.begin(), codes.end(), [](auto code) { return data::is_undivided_script(code); });
  std::vector<std::string> words(1);
  const auto end_word = [&] {
    if (!words.back().empty()) words.emplace_back();
  };
  for (const auto code : codes) {
    if (is_ascii_punctuation(code) || is_undivided_punctuation(code, undivided_text)) continue;
    const bool single = data::is_undivided_script(code);
    if (single || is_space(code)) end_word();
    if (!is_space(code)) data::append_utf8(words.back(), code);
    if (single) end_word();
  }
  std::erase_if(words,
                [](const std::string& word) { return word.empty() || word == "a" || word == "an" || word == "the"; });
  return words;
}

double exact_match(std::string_view prediction, const std::vector<std::string>& gold) {
  const auto predicted = answer_words(prediction);
  return best_over(gold, [&](const std::string& answer) { return answer_words(answer) == predicted ? 1.0 : 0.0; });
}

double token_f1(std::string_view prediction, const std::vector<std::string>& gold) {
  const auto predicted = answer_words(prediction);
  return best_over(gold, [&](const std::string& answer) {
    const auto words = answer_words(answer);
    return f_measure(common_count(predicted, words), predicted.size(), words.size());
  });
}

double rouge_l(std::string_view prediction, const std::vector<std::string>& gold) {
  const auto predicted = data::word_tokens(prediction);
  return best_over(gold, [&](const std::string& answer) {
    const auto words = data::word_tokens(answer);
    if (predicted.empty() || words.empty()) return 0.0;
    return f_measure(common_subsequence(predicted, words), predicted.size(), words.size());
  });
}

}  // namespace graft::pipelines
