#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data_loaders/text/record.h"

namespace graft::data {

enum class Likeness {
  kExact,   ///< same words after comparison_form(); case, punctuation, spacing and the order of options do not count
  kNear,    ///< Jaccard similarity of character 5-grams above the threshold
  kPhrase,  ///< overlap only: a run of 13 words (20 characters of Chinese), or a whole shorter question of 8 (12) or
            ///< more
};

struct DuplicateSearch {
  double threshold = 0.8;
  bool near = true;
};

/// `index` repeats `of`, which comes before it and is itself no repetition.
struct Duplicate {
  int64_t index = 0, of = 0;
  Likeness likeness = Likeness::kExact;
  double similarity = 1;
};

/// Compares what is learnt: question, options and answer, or the turns of a dialogue, or the text; not the system text,
/// the instruction before a question or its context. In order of index; near-linear in the size of the text.
std::vector<Duplicate> find_duplicates(const std::vector<Record>& records, const DuplicateSearch& search = {});

/// A training row that holds an evaluation row's question.
struct Overlap {
  int64_t train = 0, eval = 0;
  Likeness likeness = Likeness::kExact;
  double similarity = 1;  ///< for kPhrase the share of the question's phrases that were found
};

/// At most one entry for each training row, the strongest likeness; in order of `train`. Questions with different
/// contexts are no exact or near overlap.
std::vector<Overlap> find_overlaps(const std::vector<Record>& train, const std::vector<Record>& eval,
                                   const DuplicateSearch& search = {});

/// The records without those that repeat another.
std::vector<Record> without_duplicates(std::vector<Record> records, const std::vector<Duplicate>& duplicates);
std::vector<Record> without_overlaps(std::vector<Record> train, const std::vector<Overlap>& overlaps);

/// Counts, then up to `examples` lines `file:line (id) repeats file:line (id), near 0.93`.
std::string to_text(const std::vector<Duplicate>& duplicates, const std::vector<Record>& records, size_t examples = 5);
std::string to_text(const std::vector<Overlap>& overlaps, const std::vector<Record>& train,
                    const std::vector<Record>& eval, size_t examples = 5);

}  // namespace graft::data
