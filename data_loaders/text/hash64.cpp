#include "data_loaders/text/hash64.h"

#include <cstring>

namespace graft::data {

uint64_t hash64(std::string_view bytes, uint64_t seed) {
  uint64_t state = mix64(seed ^ bytes.size());
  for (; bytes.size() >= 8; bytes.remove_prefix(8)) {
    uint64_t word;
    std::memcpy(&word, bytes.data(), 8);
    state = mix64(state ^ word);
  }
  uint64_t tail = 0;
  if (!bytes.empty()) std::memcpy(&tail, bytes.data(), bytes.size());
  return mix64(state ^ tail);
}

}  // namespace graft::data
