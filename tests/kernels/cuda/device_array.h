#pragma once

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/base/bfloat16.h"
#include "kernels/base/cuda_device.h"
#include "tests/kernels/cuda/jobs.h"

namespace graft::kernels {

/// Random contents of a piece but for starts; small numbers are -1 to 40.
inline std::vector<uint8_t> contents_of(const Piece& piece, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<uint8_t> bytes(piece.bytes());
  const auto put = [&](size_t at, const auto& value) { std::memcpy(bytes.data() + at, &value, sizeof value); };
  for (size_t at = 0; at < bytes.size(); at += piece.element_bytes()) {
    switch (piece.contents) {
      case Contents::kNormal32: put(at, normal(random)); break;
      case Contents::kNormal16: put(at, float_to_bfloat16(normal(random))); break;
      case Contents::kBytes: put(at, static_cast<uint8_t>(random())); break;
      case Contents::kSmallNumbers: put(at, static_cast<int64_t>(random() % 42) - 1); break;
      case Contents::kStarts: put(at, static_cast<int64_t>(at / sizeof(int64_t)) * kListLength); break;
    }
  }
  return bytes;
}

/// A piece on the device between two fences that must stay as they are. `off`: elements by which it misses the alignment of packs.
class DeviceArray {
 public:
  DeviceArray(const Piece& piece, uint64_t seed, int off)
      : begin_(kFence + static_cast<size_t>(off) * piece.element_bytes()), size_(piece.bytes()),
        before_(begin_ + size_ + kFence, kUntouched), memory_(before_.size()) {
    const auto contents = contents_of(piece, seed);
    std::copy(contents.begin(), contents.end(), before_.begin() + static_cast<std::ptrdiff_t>(begin_));
    restore();
  }

  void* data() const { return static_cast<uint8_t*>(memory_.data()) + begin_; }
  void restore() { memory_.write(before_.data()); }
  std::vector<uint8_t> read() const {
    const auto all = whole();
    return {all.begin() + static_cast<std::ptrdiff_t>(begin_), all.begin() + static_cast<std::ptrdiff_t>(begin_ + size_)};
  }
  bool fences_stand() const {
    const auto all = whole();
    for (size_t i = 0; i < all.size(); ++i)
      if ((i < begin_ || i >= begin_ + size_) && all[i] != kUntouched) return false;
    return true;
  }

 private:
  static constexpr size_t kFence = 256;
  static constexpr uint8_t kUntouched = 0xa5;

  std::vector<uint8_t> whole() const {
    std::vector<uint8_t> all(before_.size());
    memory_.read(all.data());
    return all;
  }

  size_t begin_, size_;
  std::vector<uint8_t> before_;
  CudaMemory memory_;
};

/// A job with its arrays; the same seed gives the same contents.
class PlacedJob {
 public:
  PlacedJob(const Job& job, int off) : job_(&job) {
    uint64_t seed = 1;
    for (const auto& piece : job.pieces) arrays_.emplace_back(piece, seed++, off);
  }

  void restore() {
    for (auto& array : arrays_) array.restore();
  }
  void launch(void* stream) const {
    std::vector<void*> at;
    for (const auto& array : arrays_) at.push_back(array.data());
    job_->launch(at, stream);
  }
  std::vector<std::vector<uint8_t>> read() const {
    std::vector<std::vector<uint8_t>> all;
    for (const auto& array : arrays_) all.push_back(array.read());
    return all;
  }
  bool fences_stand() const {
    return std::all_of(arrays_.begin(), arrays_.end(), [](const DeviceArray& array) { return array.fences_stand(); });
  }
  const std::string& name() const { return job_->name; }

 private:
  const Job* job_;
  std::vector<DeviceArray> arrays_;
};

}  // namespace graft::kernels
