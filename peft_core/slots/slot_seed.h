#pragma once

#include <cstdint>
#include <string>

namespace graft::peft {

/// A number that differs from slot to slot. FNV-1a: the same on every platform, unlike std::hash.
inline uint64_t slot_seed(const std::string& name) {
  uint64_t hash = 14695981039346656037ull;
  for (const unsigned char c : name) hash = (hash ^ c) * 1099511628211ull;
  return hash;
}

}  // namespace graft::peft
