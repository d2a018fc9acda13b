#pragma once

#include <algorithm>
#include <string>

#include "peft_core/base/sha256.h"

namespace graft::peft {

/// Of name, shape, and the first and last bytes of every tensor: a changed or re-quantised model differs in these.
template <class Tensors>
std::string tensor_fingerprint(const Tensors& tensors) {
  constexpr size_t kSampleBytes = 4096;
  Sha256 hash;
  for (const auto& [name, tensor] : tensors) {
    hash.add(name);
    for (const auto size : tensor.shape) hash.add(" "), hash.add(std::to_string(size));
    const auto sample = std::min(kSampleBytes, tensor.bytes.size());
    hash.add(tensor.bytes.first(sample));
    hash.add(tensor.bytes.last(sample));
  }
  return hash.hex();
}

}  // namespace graft::peft
