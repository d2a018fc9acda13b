#pragma once

#include <cstdint>
#include <string_view>

namespace graft::data {

/// A good 64-bit mix of a value (every input bit reaches every output bit); the base of all seeded choices here.
/// Source: the finaliser of SplitMix64, Steele, Lea and Flood 2014.
constexpr uint64_t mix64(uint64_t value) {
  value += 0x9E3779B97F4A7C15ull;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
  return value ^ (value >> 31);
}

/// The same on every little-endian platform and in every run, unlike std::hash. Not cryptographic.
uint64_t hash64(std::string_view bytes, uint64_t seed = 0);

}  // namespace graft::data
