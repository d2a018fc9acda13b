#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels/base/cuda_device.h"
#include "tests/kernels/base/host_launcher.h"

// Where a block program runs in a test. Every case is run at all of them: the processor's loops forwards give the bits that the others must
// give too.
namespace graft::kernels {

enum class Place { kForward, kBackward, kDevice };

inline const char* name_of(Place place) {
  return place == Place::kForward ? "host" : place == Place::kBackward ? "host_backwards" : "device";
}

inline const auto kPlaces = ::testing::Values(Place::kForward, Place::kBackward, Place::kDevice);

/// Why nothing can run there; empty if it can.
inline std::string why_not_at(Place place) { return place == Place::kDevice ? why_no_cuda_device() : ""; }

/// The sizes of a test, and on a device those too that would take the processor's loops too long to walk twice.
template <class T>
std::vector<T> sizes_at(Place place, std::vector<T> sizes, const std::vector<T>& large) {
  if (place == Place::kDevice) sizes.insert(sizes.end(), large.begin(), large.end());
  return sizes;
}

/// Gives kernels their pointers: the host's own, or copies on the device that are copied back in the end.
class Site {
 public:
  explicit Site(Place place) : place_(place) {}
  ~Site() {
    for (const auto& copy : copies_) copy.memory->read(copy.host);
  }
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

  bool on_device() const { return place_ == Place::kDevice; }
  HostLauncher host() const { return {place_ == Place::kForward ? ThreadOrder::kForward : ThreadOrder::kBackward}; }

  /// The same host memory always has the same copy.
  template <class T>
  T* at(T* host, int64_t count) {
    if (!on_device() || host == nullptr) return host;
    for (const auto& copy : copies_)
      if (copy.host == host) return static_cast<T*>(copy.memory->data());
    copies_.push_back({host, std::make_unique<CudaMemory>(host, static_cast<size_t>(count) * sizeof(T))});
    return static_cast<T*>(copies_.back().memory->data());
  }
  template <class T>
  T* at(std::vector<T>& host) {
    return at(host.data(), static_cast<int64_t>(host.size()));
  }

 private:
  struct Copy {
    void* host;
    std::unique_ptr<CudaMemory> memory;
  };
  Place place_;
  std::vector<Copy> copies_;
};

/// The same bytes, so that a NaN equals itself.
template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

inline bool not_a_number(float v) { return v != v; }
inline bool not_a_number(uint16_t bf16) { return (bf16 & 0x7fff) > 0x7f80; }

/// The same bytes but for NaNs, whose sign and payload each processor chooses as it likes.
template <class T>
bool same_numbers(const std::vector<T>& a, const std::vector<T>& b) {
  const auto same = [](T x, T y) { return std::memcmp(&x, &y, sizeof(T)) == 0 || (not_a_number(x) && not_a_number(y)); };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same);
}

}  // namespace graft::kernels
