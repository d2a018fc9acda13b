#include "pipelines/frozen_audit.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/base/error.h"

namespace graft::pipelines {
namespace {

constexpr size_t kBlock = 4096, kBlocks = 16;

/// A bijection of 64-bit words: shifts and multiplications by odd constants (digits of the golden ratio and of pi), so
/// that two different words never become equal.
uint64_t stir(uint64_t word) {
  word = (word ^ (word >> 32)) * 0x9E3779B97F4A7C15ull;
  word = (word ^ (word >> 29)) * 0x243F6A8885A308D3ull;
  return word ^ (word >> 32);
}

/// Of a tensor in the processor's memory.
std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

uint64_t hash_samples(std::span<const std::byte> bytes) {
  if (bytes.size() <= kBlock * kBlocks) return hash_bytes(bytes);
  uint64_t result = 0;
  for (size_t block = 0; block < kBlocks; ++block) {
    const size_t at = (bytes.size() - kBlock) / (kBlocks - 1) * block;
    result = hash_bytes(bytes.subspan(block + 1 == kBlocks ? bytes.size() - kBlock : at, kBlock), result);
  }
  return result;
}

}  // namespace

uint64_t hash_bytes(std::span<const std::byte> bytes, uint64_t seed) {
  // Four independent lanes let the multiplications overlap.
  uint64_t lanes[4] = {seed + 1, seed + 2, seed + 3, seed + 4};
  size_t at = 0;
  for (; at + 32 <= bytes.size(); at += 32) {
    uint64_t words[4];
    std::memcpy(words, bytes.data() + at, 32);
    for (int lane = 0; lane < 4; ++lane) {
      lanes[lane] = std::rotl((lanes[lane] ^ words[lane]) * 0x9E3779B97F4A7C15ull, 29);
    }
  }
  unsigned char rest[32] = {};
  if (at < bytes.size()) std::memcpy(rest, bytes.data() + at, bytes.size() - at);
  uint64_t hash = stir(bytes.size());
  for (int lane = 0; lane < 4; ++lane) {
    uint64_t word;
    std::memcpy(&word, rest + 8 * lane, 8);
    hash = stir(hash ^ stir(lanes[lane] ^ word));
  }
  return hash;
}

FrozenAudit::FrozenAudit(std::vector<FrozenTensor> tensors, int64_t whole_below_bytes)
    : tensors_(std::move(tensors)) {
  uint64_t total = 0;
  for (const auto& frozen : tensors_) {
    GRAFT_ASSERT(frozen.tensor.is_contiguous());
    total += frozen.tensor.nbytes();
  }
  whole_ = total <= static_cast<uint64_t>(whole_below_bytes);
  for (const auto& frozen : tensors_) hashes_.push_back(hash(frozen));
}

uint64_t FrozenAudit::hash(const FrozenTensor& frozen) const {
  const auto here = frozen.tensor.cpu();  // itself, where it lies there
  const uint64_t result = whole_ ? hash_bytes(bytes_of(here)) : hash_samples(bytes_of(here));
  if (frozen.let_go) frozen.let_go();
  return result;
}

std::vector<std::string> FrozenAudit::changed() const {
  std::vector<std::string> names;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (hash(tensors_[i]) != hashes_[i]) names.push_back(tensors_[i].name);
  }
  return names;
}

void FrozenAudit::verify(const std::string& when) const {
  const auto names = changed();
  if (names.empty()) return;
  throw NumericalError({.where = when,
                        .what = "frozen weights changed: " + name_some(names),
                        .hint = "this is a fault of the method or the backbone, not of your settings"});
}

std::string name_some(const std::vector<std::string>& names) {
  constexpr size_t kShown = 8;
  std::string text;
  for (size_t i = 0; i < std::min(kShown, names.size()); ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

}  // namespace graft::pipelines
