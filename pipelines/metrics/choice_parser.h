#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace graft::pipelines {

/// The letters that a generated answer names, in alphabetical order ("AD"), or nothing if it names none.
///
/// Thinking is no answer: only what follows the last `</think>` counts, and nothing does inside a block that is not
/// closed. Tried in this order: what follows the last "answer", "答案", "故选" or "\boxed" that a letter follows;
/// letters at the start of the text or of its lines; a text that is one of the options; what follows "option",
/// "choose", "选" and the like; a single letter in brackets or bold. A letter is A, (B), **C**, c) or a Roman numeral
/// (II is B) up to the number of options; several are joined by commas, "and", "和" or nothing ("ACD"). The word "A"
/// and the pronoun "I" before another word are no letters. Thread-safe. Expects valid UTF-8.
std::optional<std::string> parse_choice(std::string_view text, size_t option_count,
                                        const std::vector<std::string>& options = {});

/// The text without thinking: what follows the last `</think>`; empty if a `<think>` is not closed.
std::string_view without_thinking(std::string_view text);

}  // namespace graft::pipelines
