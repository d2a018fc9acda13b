#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pipelines/metrics/statistics.h"

namespace graft::pipelines {

/// Counts of multiple-choice items. An item is right if the letters named are exactly the gold ones; an answer that
/// names none is wrong and counted apart.
class ChoiceTally {
 public:
  /// Letters in alphabetical order, as parse_choice() and Record::gold give them. Returns whether the item is right.
  bool add(const std::optional<std::string>& predicted, const std::string& gold);

  int64_t items() const { return items_; }
  int64_t correct() const { return correct_; }
  int64_t unparseable() const { return unparseable_; }
  double accuracy() const { return items_ == 0 ? 0.0 : static_cast<double>(correct_) / static_cast<double>(items_); }
  Interval interval() const { return wilson_interval(correct_, items_); }  ///< 95 %

 private:
  int64_t items_ = 0, correct_ = 0, unparseable_ = 0;
};

/// A seeded order to show the options in: order[0] is the option shown as A. Never the file's own order for two or more
/// options.
std::vector<int> shuffled_option_order(size_t option_count, uint64_t seed, uint64_t item);

/// Letters as shown -> letters of the file; letters of the file -> letters as shown.
std::string letters_in_file(const std::string& shown, const std::vector<int>& order);
std::string letters_as_shown(const std::string& in_file, const std::vector<int>& order);

/// Share of items for which the same content was chosen in both orders. Both lists hold letters of the file; an answer
/// that could not be read agrees with nothing. Throws InvalidArgument for unequal lengths or no items.
double order_consistency(const std::vector<std::optional<std::string>>& first,
                         const std::vector<std::optional<std::string>>& second);

}  // namespace graft::pipelines
