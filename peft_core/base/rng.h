#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace graft {

/// Random numbers that depend on nothing but (seed, stream name, step): no hidden state, so that a resumed run, another thread
/// count or another platform draws the same ones. Integer arithmetic only; not for secrets.
///
/// Source   number i is SplitMix64's i-th output for a key (Steele, Lea, Flood 2014); the key mixes seed, FNV-1a of the name, step.
class RandomStream {
 public:
  explicit RandomStream(uint64_t key) : state_(key) {}
  RandomStream(uint64_t seed, std::string_view name, uint64_t step = 0);

  uint64_t next();
  /// Uniform in 0..bound-1, without bias; bound > 0.
  uint64_t below(uint64_t bound);
  /// Uniform in [0, 1), a multiple of 2^-53.
  double uniform();

 private:
  uint64_t state_;
};

/// A seed for somebody else's generator, e.g. a step's dropout.
uint64_t stream_seed(uint64_t seed, std::string_view name, uint64_t step = 0);

/// 0..count-1 in random order.
std::vector<int64_t> shuffled_indices(int64_t count, RandomStream stream);

}  // namespace graft
