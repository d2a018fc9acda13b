#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "pipelines/frozen_tensor.h"

namespace graft::pipelines {

/// Notices when training changes what it must not.
///
/// Remembers a 64-bit hash of each tensor's bytes: of all of them while the tensors together are at most
/// `whole_below_bytes`, else of 16 blocks of 4 KiB spread evenly over each tensor, first and last included. A stray
/// update changes nearly every element, so samples find it; a change of a few bytes between samples of a large model
/// goes unnoticed.
/// Cost     a few milliseconds for sampled models. Holds the tensors alive, and lets go of each when it was read: around a sample the system
///          maps 64 KiB of a file, so that all samples together would keep most of it in memory.
class FrozenAudit {
 public:
  explicit FrozenAudit(std::vector<FrozenTensor> tensors, int64_t whole_below_bytes = 64 << 20);

  /// Names of tensors whose bytes differ from those at construction.
  std::vector<std::string> changed() const;
  /// Throws   NumericalError naming the tensors (the first ones, and how many).
  void verify(const std::string& when) const;

 private:
  uint64_t hash(const FrozenTensor& frozen) const;

  std::vector<FrozenTensor> tensors_;
  std::vector<uint64_t> hashes_;
  bool whole_ = true;
};

/// "a, b, c and 417 more", for messages.
std::string name_some(const std::vector<std::string>& names);

/// 64-bit hash of bytes, for noticing accidents, not attacks.
uint64_t hash_bytes(std::span<const std::byte> bytes, uint64_t seed = 0);

}  // namespace graft::pipelines
