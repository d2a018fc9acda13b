#include "pipelines/metrics/choice_scores.h"

#include <algorithm>
#include <numeric>

#include "kernels/base/error.h"
#include "peft_core/base/rng.h"

namespace graft::pipelines {

bool ChoiceTally::add(const std::optional<std::string>& predicted, const std::string& gold) {
  const bool right = predicted.has_value() && *predicted == gold;
  ++items_;
  correct_ += right;
  unparseable_ += !predicted.has_value();
  return right;
}

std::vector<int> shuffled_option_order(size_t option_count, uint64_t seed, uint64_t item) {
  const auto drawn = shuffled_indices(static_cast<int64_t>(option_count), RandomStream(seed, "option order", item));
  std::vector<int> order(drawn.begin(), drawn.end());
  if (std::is_sorted(order.begin(), order.end()) && order.size() > 1)
    std::rotate(order.begin(), order.begin() + 1, order.end());
  return order;
}

std::string letters_in_file(const std::string& shown, const std::vector<int>& order) {
  std::string letters;
  for (const char letter : shown) letters += static_cast<char>('A' + order.at(static_cast<size_t>(letter - 'A')));
  std::sort(letters.begin(), letters.end());
  return letters;
}

std::string letters_as_shown(const std::string& in_file, const std::vector<int>& order) {
  std::string letters;
  for (const char letter : in_file) {
    const auto place = std::find(order.begin(), order.end(), letter - 'A');
    GRAFT_ASSERT(place != order.end());
    letters += static_cast<char>('A' + (place - order.begin()));
  }
  std::sort(letters.begin(), letters.end());
  return letters;
}

double order_consistency(const std::vector<std::optional<std::string>>& first,
                         const std::vector<std::optional<std::string>>& second) {
  if (first.size() != second.size() || first.empty()) {
    throw InvalidArgument({.what = "consistency needs the same items in both orders",
                           .expected = std::to_string(first.size()),
                           .got = std::to_string(second.size())});
  }
  int64_t same = 0;
  for (size_t i = 0; i < first.size(); ++i) same += first[i].has_value() && first[i] == second[i];
  return static_cast<double>(same) / static_cast<double>(first.size());
}

}  // namespace graft::pipelines
