#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

namespace graft::kernels {

/// Scratch memory that begins at a cache line and only grows: a tile whose rows cross lines takes twice as long to load.
/// Kept in a thread_local it saves the page faults of a large allocation in every call.
template <class T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t count) { reserve(count); }

  /// At least `count` values, not initialised; what was there is lost if it must grow.
  T* reserve(size_t count) {
    if (count > capacity_) {
      capacity_ = 0;
      values_.reset();
      values_.reset(static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t{kLine})));
      capacity_ = count;
    }
    return values_.get();
  }
  T* zeroed(size_t count) {
    T* values = reserve(count);
    if (count > 0) std::memset(values, 0, count * sizeof(T));
    return values;
  }
  T* data() { return values_.get(); }
  const T* data() const { return values_.get(); }
  size_t capacity() const { return capacity_; }

 private:
  static constexpr size_t kLine = 64;
  struct Free {
    void operator()(T* values) const { ::operator delete(values, std::align_val_t{kLine}); }
  };
  std::unique_ptr<T, Free> values_;
  size_t capacity_ = 0;
};

}  // namespace graft::kernels
