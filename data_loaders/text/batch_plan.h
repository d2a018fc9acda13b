#pragma once

#include <cstdint>
#include <vector>

namespace graft::data {

struct BatchPlanOptions {
  int64_t items = 0;         ///< samples, or packed rows
  int64_t batch_size = 1;    ///< items a micro step
  int64_t accumulation = 1;  ///< micro steps an optimizer step
  double epochs = 1;         ///< counts if max_steps is 0; may be a fraction
  int64_t max_steps = 0;
  bool shuffle = true;  ///< another order in each epoch
  uint64_t seed = 0;
};

/// Which items each micro step sees. A pure function of (options, step, micro), with no state to save: a resumed run
/// asks for the step it is at. Each epoch visits every item once; its last step is smaller if the sizes do not divide,
/// and its last micro steps may be empty.
///
/// Cost     indices() takes O(batch_size) time and no memory: the order of an epoch is computed, not stored.
/// Thread-safe. Throws   InvalidArgument (constructor) for no items or sizes below 1.
class BatchPlan {
 public:
  explicit BatchPlan(const BatchPlanOptions& options);

  int64_t steps_per_epoch() const;
  int64_t total_steps() const;
  int64_t epoch_of(int64_t step) const { return step / steps_per_epoch(); }
  /// `step` counts from 0, `micro` from 0 below accumulation.
  std::vector<int64_t> indices(int64_t step, int64_t micro) const;

 private:
  BatchPlanOptions options_;
};

/// Element `index` of a seeded permutation of 0..size-1.
/// Source: Luby and Rackoff 1988 (Feistel rounds) with cycle walking, Black and Rogaway 2002.
int64_t permuted(int64_t index, int64_t size, uint64_t seed);

}  // namespace graft::data
