#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace graft::formats {

/// Walks over bytes and never past their end. Throws IoError naming the file, the part and the place.
class ByteCursor {
 public:
  ByteCursor(std::span<const std::byte> bytes, std::string file) : bytes_(bytes), file_(std::move(file)) {}

  size_t position() const { return position_; }
  size_t left() const { return bytes_.size() - position_; }
  /// What is being read now, for errors: a key, a tensor.
  void set_part(std::string part) { part_ = std::move(part); }
  std::string where() const { return part_.empty() ? file_ : file_ + ": " + part_; }

  template <class T>
  T read(std::string_view what) {
    T value{};
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }
  std::span<const std::byte> take(uint64_t count, std::string_view what);
  /// A length in 64 bits, then the bytes.
  std::string_view read_string(std::string_view what, uint64_t longest);
  /// A count of things that take at least `least_bytes` each: more than the bytes left could hold is an error, so that the caller may
  /// allocate for it.
  uint64_t read_count(std::string_view what, uint64_t least_bytes);
  [[noreturn]] void fail(const std::string& what) const;

 private:
  std::span<const std::byte> bytes_;
  std::string file_;
  std::string part_;
  size_t position_ = 0;
};

}  // namespace graft::formats
