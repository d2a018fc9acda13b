#include "peft_core/formats/byte_cursor.h"

#include "kernels/base/error.h"

namespace graft::formats {

void ByteCursor::fail(const std::string& what) const {
  throw IoError({.where = where(), .what = what + " (at byte " + std::to_string(position_) + ")"});
}

std::span<const std::byte> ByteCursor::take(uint64_t count, std::string_view what) {
  if (count > left()) {
    throw IoError({.where = where(), .what = "is truncated in " + std::string(what) + " (at byte " + std::to_string(position_) + ")",
                   .expected = std::to_string(count) + " bytes", .got = std::to_string(left())});
  }
  const auto taken = bytes_.subspan(position_, count);
  position_ += count;
  return taken;
}

std::string_view ByteCursor::read_string(std::string_view what, uint64_t longest) {
  const auto length = read<uint64_t>(what);
  if (length > longest) {
    throw IoError({.where = where(), .what = std::string(what) + " is too long (at byte " + std::to_string(position_) + ")",
                   .expected = "at most " + std::to_string(longest) + " bytes", .got = std::to_string(length)});
  }
  const auto text = take(length, what);
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

uint64_t ByteCursor::read_count(std::string_view what, uint64_t least_bytes) {
  const auto count = read<uint64_t>(what);
  if (count > left() / least_bytes) {
    throw IoError({.where = where(), .what = "claims more " + std::string(what) + " than the rest of the file can hold (at byte " +
                                            std::to_string(position_) + ")",
                   .expected = "at most " + std::to_string(left() / least_bytes), .got = std::to_string(count)});
  }
  return count;
}

}  // namespace graft::formats
