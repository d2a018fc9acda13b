#include "pipelines/metrics/answer_scores.h"

#include <utf8proc.h>

#include <algorithm>
#include <map>

#include "data_loaders/text/word_tokens.h"

namespace graft::pipelines {
namespace {

bool is_ascii_punctuation(utf8proc_int32_t code) {
  return (code >= 0x21 && code <= 0x2F) || (code >= 0x3A && code <= 0x40) || (code >= 0x5B && code <= 0x60) ||
         (code >= 0x7B && code <= 0x7E);
}

/// Marks that only Chinese and Japanese text uses, full-width forms, and (in such text) dashes, dots and curly quotes.
bool is_undivided_punctuation(utf8proc_int32_t code, bool undivided_text) {
  const bool own = (code >= 0x3001 && code <= 0x3003) || (code >= 0x3008 && code <= 0x3011) ||
                   (code >= 0x3014 && code <= 0x301F) || (code >= 0xFF01 && code <= 0xFF0F) ||
                   (code >= 0xFF1A && code <= 0xFF20) || (code >= 0xFF3B && code <= 0xFF40) ||
                   (code >= 0xFF5B && code <= 0xFF65);
  return own || (undivided_text && (code == 0xB7 || (code >= 0x2010 && code <= 0x2027)));
}

bool is_space(utf8proc_int32_t code) {
  const auto category = utf8proc_category(code);
  return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x1F) || code == 0x85 ||
         category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

/// Code points; bytes that are no valid UTF-8 become U+FFFD.
std::vector<utf8proc_int32_t> code_points(std::string_view text) {
  std::vector<utf8proc_int32_t> codes;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (size_t at = 0; at < text.size();) {
    utf8proc_int32_t code = -1;
    const auto used = utf8proc_iterate(bytes + at, static_cast<utf8proc_ssize_t>(text.size() - at), &code);
    codes.push_back(used > 0 ? code : 0xFFFD);
    at += used > 0 ? static_cast<size_t>(used) : 1;
  }
  return codes;
}

void append(std::string& word, utf8proc_int32_t code) {
  utf8proc_uint8_t encoded[4];
  const auto size = utf8proc_encode_char(code, encoded);
  word.append(reinterpret_cast<const char*>(encoded), static_cast<size_t>(size));
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
  const auto codes = code_points(text);
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
    if (!is_space(code)) append(words.back(), utf8proc_tolower(code));
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
