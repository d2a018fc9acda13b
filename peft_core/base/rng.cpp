#include "peft_core/base/rng.h"

#include <numeric>
#include <utility>

#include "kernels/base/error.h"

namespace graft {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr uint64_t kStride = 0x9e3779b97f4a7c15u;  // 2^64 / golden ratio, odd

uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

uint64_t hash_name(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const unsigned char c : name) hash = (hash ^ c) * 0x100000001b3u;
  return hash;
}

}  // namespace

RandomStream::RandomStream(uint64_t seed, std::string_view name, uint64_t step)
    : state_(mix(mix(mix(seed + kStride) ^ hash_name(name)) + (step + 1) * kStride)) {}

uint64_t RandomStream::next() { return mix(state_ += kStride); }

uint64_t RandomStream::below(uint64_t bound) {
  GRAFT_ASSERT(bound > 0);
  // The high half of a product is uniform but for a few low halves; those are drawn again (Lemire 2019).
  const uint64_t uneven = (0 - bound) % bound;
  while (true) {
    const auto product = static_cast<Wide>(next()) * bound;
    if (static_cast<uint64_t>(product) >= uneven) return static_cast<uint64_t>(product >> 64);
  }
}

double RandomStream::uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

uint64_t stream_seed(uint64_t seed, std::string_view name, uint64_t step) { return RandomStream(seed, name, step).next(); }

std::vector<int64_t> shuffled_indices(int64_t count, RandomStream stream) {
  std::vector<int64_t> indices(static_cast<size_t>(count));
  std::iota(indices.begin(), indices.end(), int64_t{0});
  for (size_t left = indices.size(); left > 1; --left) std::swap(indices[left - 1], indices[stream.below(left)]);
  return indices;
}

}  // namespace graft
