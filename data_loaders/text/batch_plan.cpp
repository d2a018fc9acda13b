#include "data_loaders/text/batch_plan.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "data_loaders/text/hash64.h"
#include "kernels/base/error.h"

namespace graft::data {
namespace {

void require_positive(const char* key, int64_t value) {
  if (value < 1)
    throw InvalidArgument(
        {.where = key, .what = "is too small", .expected = "at least 1", .got = std::to_string(value)});
}

}  // namespace

int64_t permuted(int64_t index, int64_t size, uint64_t seed) {
  GRAFT_ASSERT(index >= 0 && index < size);
  const int half_bits = (std::bit_width(static_cast<uint64_t>(size - 1)) + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half_bits) - 1;
  uint64_t value = static_cast<uint64_t>(index);
  do {  // the Feistel network permutes 0..4^half_bits-1, which is below 4 size; values outside are sent round again
    uint64_t left = value >> half_bits, right = value & mask;
    for (uint64_t round = 0; round < 6; ++round) {
      const uint64_t next = left ^ (mix64(seed + mix64((round << 56) ^ right)) & mask);
      left = right;
      right = next;
    }
    value = (left << half_bits) | right;
  } while (value >= static_cast<uint64_t>(size));
  return static_cast<int64_t>(value);
}

BatchPlan::BatchPlan(const BatchPlanOptions& options) : options_(options) {
  if (options.items < 1)
    throw InvalidArgument({.where = "data", .what = "no training items", .expected = "at least one"});
  require_positive("train.batch_size", options.batch_size);
  require_positive("train.accumulation", options.accumulation);
  if (options.max_steps < 0) require_positive("train.max_steps", options.max_steps);
  const bool endless = options.max_steps == 0 && !(options.epochs > 0 && std::isfinite(options.epochs));
  if (endless)
    throw InvalidArgument({.where = "train.epochs",
                           .what = "gives the run no length",
                           .expected = "above 0, or train.max_steps",
                           .got = std::to_string(options.epochs)});
}

int64_t BatchPlan::steps_per_epoch() const {
  const int64_t micros = (options_.items + options_.batch_size - 1) / options_.batch_size;
  return (micros + options_.accumulation - 1) / options_.accumulation;
}

int64_t BatchPlan::total_steps() const {
  if (options_.max_steps > 0) return options_.max_steps;
  return std::max<int64_t>(
      1, static_cast<int64_t>(std::ceil(options_.epochs * static_cast<double>(steps_per_epoch()) - 1e-9)));
}

std::vector<int64_t> BatchPlan::indices(int64_t step, int64_t micro) const {
  GRAFT_ASSERT(step >= 0 && micro >= 0 && micro < options_.accumulation);
  const int64_t epoch = epoch_of(step);
  const int64_t first = ((step % steps_per_epoch()) * options_.accumulation + micro) * options_.batch_size;
  const uint64_t epoch_seed = mix64(options_.seed + mix64(static_cast<uint64_t>(epoch)));
  std::vector<int64_t> found;
  for (int64_t i = first; i < std::min(options_.items, first + options_.batch_size); ++i) {
    found.push_back(options_.shuffle ? permuted(i, options_.items, epoch_seed) : i);
  }
  return found;
}

}  // namespace graft::data
