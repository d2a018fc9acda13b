#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace graft::pipelines {

/// Words as SQuAD compares them: lower case, ASCII punctuation deleted, the articles a, an, the dropped, white space
/// split. Chinese and Japanese: every character is a word, and their own punctuation is deleted.
///
/// Source   Rajpurkar et al. 2016, the rules of the official evaluation script; per character for Chinese as in CMRC
/// 2018.
std::vector<std::string> answer_words(std::string_view text);

/// 1 if the words of the prediction are those of one gold answer, else 0. No gold answers count as one empty answer.
double exact_match(std::string_view prediction, const std::vector<std::string>& gold);

/// F = 2PR / (P + R) over the multisets of words, the best over the gold answers; two empty answers agree (1).
/// Check: "apply 20 kg nitrogen" against "20 kg of nitrogen": P = R = F = 0.75.
double token_f1(std::string_view prediction, const std::vector<std::string>& gold);

/// F = 2PR / (P + R) with P = lcs / prediction words and R = lcs / gold words, where lcs is the length of the longest
/// common subsequence; the best over the gold answers. Words are runs of letters and digits without case; Chinese and
/// Japanese characters count singly. No stemming; for English text these are the words of the Python package
/// rouge-score (use_stemmer=False).
///
/// Cost     O(prediction words x gold words) time.
/// Source   Lin 2004, ROUGE-L with beta = 1.
double rouge_l(std::string_view prediction, const std::vector<std::string>& gold);

}  // namespace graft::pipelines
