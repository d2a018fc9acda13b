#include "data_loaders/text/duplicates.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "data_loaders/text/comparison_text.h"
#include "data_loaders/text/hash64.h"
#include "data_loaders/text/similar_sets.h"

namespace graft::data {
namespace {

/// First index with the same text; compares texts, not hashes alone.
class ExactIndex {
 public:
  int64_t find(const std::string& text) const {
    const auto [begin, end] = first_.equal_range(hash64(text));
    for (auto entry = begin; entry != end; ++entry) {
      if (entry->second.first == text) return entry->second.second;
    }
    return -1;
  }
  void add(std::string text, int64_t index) {
    const uint64_t hash = hash64(text);
    first_.emplace(hash, std::pair(std::move(text), index));
  }

 private:
  std::unordered_multimap<uint64_t, std::pair<std::string, int64_t>> first_;
};

std::string name_of_row(const Record& record) {
  return place_of(record) + (record.id.empty() ? "" : " (" + record.id + ")");
}

std::string likeness_text(Likeness likeness, double similarity) {
  if (likeness == Likeness::kExact) return "same words";
  const auto percent = std::to_string(static_cast<int>(similarity * 100 + 0.5)) + " %";
  return likeness == Likeness::kNear ? "near, " + percent : "shared phrase, " + percent + " of the question";
}

template <class Entry>
std::string counts_of(const std::vector<Entry>& entries) {
  const auto count = [&](Likeness likeness) {
    return std::to_string(
        std::count_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.likeness == likeness; }));
  };
  return count(Likeness::kExact) + " exact, " + count(Likeness::kNear) + " near";
}

template <class Entry, class IndexOf>
std::vector<Record> without(std::vector<Record> records, const std::vector<Entry>& entries, IndexOf index_of) {
  std::set<int64_t> gone;
  for (const auto& entry : entries) gone.insert(index_of(entry));
  std::vector<Record> kept;
  for (size_t i = 0; i < records.size(); ++i) {
    if (!gone.contains(static_cast<int64_t>(i))) kept.push_back(std::move(records[i]));
  }
  return kept;
}

}  // namespace

std::vector<Duplicate> find_duplicates(const std::vector<Record>& records, const DuplicateSearch& search) {
  ExactIndex exact;
  SimilarSets similar(search.threshold);
  std::vector<Duplicate> found;
  for (size_t i = 0; i < records.size(); ++i) {
    const auto index = static_cast<int64_t>(i);
    std::string form = whole_form(records[i]);
    if (const int64_t first = exact.find(form); first >= 0) {
      found.push_back({index, first, Likeness::kExact, 1.0});
      continue;
    }
    auto grams = search.near ? five_grams(form) : std::vector<uint32_t>();
    const auto match = search.near ? similar.find(grams) : SimilarSets::Match();
    if (match.index >= 0) {
      found.push_back({index, match.index, Likeness::kNear, match.similarity});
    } else if (search.near) {
      similar.add(index, std::move(grams));
    }
    // A later exact repetition of a near repetition belongs to the same first row.
    exact.add(std::move(form), match.index >= 0 ? match.index : index);
  }
  return found;
}

std::vector<Record> without_duplicates(std::vector<Record> records, const std::vector<Duplicate>& duplicates) {
  return without(std::move(records), duplicates, [](const Duplicate& duplicate) { return duplicate.index; });
}

std::vector<Record> without_overlaps(std::vector<Record> train, const std::vector<Overlap>& overlaps) {
  return without(std::move(train), overlaps, [](const Overlap& overlap) { return overlap.train; });
}

std::string to_text(const std::vector<Duplicate>& duplicates, const std::vector<Record>& records, size_t examples) {
  std::string text = "duplicates: " + counts_of(duplicates) + " of " + std::to_string(records.size()) + " rows\n";
  for (size_t i = 0; i < std::min(examples, duplicates.size()); ++i) {
    const auto& duplicate = duplicates[i];
    text += "  " + name_of_row(records.at(static_cast<size_t>(duplicate.index))) + " repeats " +
            name_of_row(records.at(static_cast<size_t>(duplicate.of))) + " (" +
            likeness_text(duplicate.likeness, duplicate.similarity) + ")\n";
  }
  return text;
}

std::string to_text(const std::vector<Overlap>& overlaps, const std::vector<Record>& train,
                    const std::vector<Record>& eval, size_t examples) {
  const auto phrases =
      std::count_if(overlaps.begin(), overlaps.end(), [](const Overlap& o) { return o.likeness == Likeness::kPhrase; });
  std::string text = "overlap with the evaluation set: " + counts_of(overlaps) + ", " + std::to_string(phrases) +
                     " shared phrases in " + std::to_string(train.size()) + " rows\n";
  for (size_t i = 0; i < std::min(examples, overlaps.size()); ++i) {
    const auto& overlap = overlaps[i];
    text += "  " + name_of_row(train.at(static_cast<size_t>(overlap.train))) + " holds " +
            name_of_row(eval.at(static_cast<size_t>(overlap.eval))) + " (" +
            likeness_text(overlap.likeness, overlap.similarity) + ")\n";
  }
  return text;
}

}  // namespace graft::data
