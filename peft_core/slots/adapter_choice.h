#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace graft::peft {

/// How much each of several adapters counts, in their order; 0: it does not work. Empty: none works.
using AdapterWeights = std::vector<double>;

/// Which of several adapters work in one pass, for all of its rows alike or sequence by sequence.
class AdapterChoice {
 public:
  /// Neighbouring rows with the same weights.
  struct Rows {
    int64_t count = 0;
    AdapterWeights weights;
  };

  static std::shared_ptr<const AdapterChoice> for_all(AdapterWeights weights);
  /// One entry of `weights` for each of the sequences that lie end to end.
  static std::shared_ptr<const AdapterChoice> for_sequences(std::span<const AdapterWeights> weights, std::span<const int32_t> lengths);

  /// Runs of rows of a pass of `rows` rows, in order. Throws InvalidArgument if the choice was made for another number.
  std::vector<Rows> runs(int64_t rows) const;
  /// The choice for rows picked by number, (M) int64.
  std::shared_ptr<const AdapterChoice> of_rows(const at::Tensor& rows) const;

 private:
  void append(int64_t count, const AdapterWeights& weights);

  std::vector<Rows> runs_;  // one without a count: all rows
};

}  // namespace graft::peft
