#include "peft_core/formats/gguf_metadata.h"

#include <array>
#include <limits>

#include "peft_core/formats/shown_name.h"

namespace graft::formats {
namespace {

constexpr uint64_t kLongestKey = 65535;        // the format's own limit
constexpr uint64_t kLongestText = 64 << 20;    // a tokenizer or chat template is far below
constexpr uint64_t kLongestArray = 4 << 20;    // a vocabulary has up to some 300,000 entries

int64_t signed_integer(ByteCursor& cursor, GgufKind kind) {
  constexpr std::string_view kWhat = "a metadata number";
  switch (kind) {
    case GgufKind::kU8: return cursor.read<uint8_t>(kWhat);
    case GgufKind::kI8: return cursor.read<int8_t>(kWhat);
    case GgufKind::kU16: return cursor.read<uint16_t>(kWhat);
    case GgufKind::kI16: return cursor.read<int16_t>(kWhat);
    case GgufKind::kU32: return cursor.read<uint32_t>(kWhat);
    case GgufKind::kI32: return cursor.read<int32_t>(kWhat);
    case GgufKind::kI64: return cursor.read<int64_t>(kWhat);
    case GgufKind::kU64: {
      const auto value = cursor.read<uint64_t>(kWhat);
      if (value > uint64_t(std::numeric_limits<int64_t>::max())) cursor.fail("has a number beyond 63 bits in a list");
      return static_cast<int64_t>(value);
    }
    default: break;
  }
  cursor.fail("has a metadata value of the unknown type " + std::to_string(static_cast<uint32_t>(kind)));
}

double floating(ByteCursor& cursor, GgufKind kind) {
  return kind == GgufKind::kF32 ? static_cast<double>(cursor.read<float>("a metadata number")) : cursor.read<double>("a metadata number");
}

bool boolean(ByteCursor& cursor) {
  const auto value = cursor.read<uint8_t>("a metadata flag");
  if (value > 1) cursor.fail("has a flag that is neither 0 nor 1");
  return value == 1;
}

std::string text(ByteCursor& cursor) { return std::string(cursor.read_string("a metadata text", kLongestText)); }

size_t bytes_of(GgufKind kind) {
  constexpr std::array<size_t, 13> kBytes = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};  // texts and arrays: at least
  return kBytes[static_cast<size_t>(kind)];
}

GgufKind read_kind(ByteCursor& cursor) {
  const auto number = cursor.read<uint32_t>("a metadata type");
  if (number > static_cast<uint32_t>(GgufKind::kF64)) cursor.fail("has a metadata value of the unknown type " + std::to_string(number));
  return static_cast<GgufKind>(number);
}

template <class T, class Read>
std::vector<T> list_of(uint64_t count, Read read) {
  std::vector<T> list;
  list.reserve(count);
  for (uint64_t i = 0; i < count; ++i) list.push_back(read());
  return list;
}

GgufValue read_array(ByteCursor& cursor) {
  const auto kind = read_kind(cursor);
  if (kind == GgufKind::kArray) cursor.fail("has an array of arrays, which is not supported");
  const auto count = cursor.read_count("array elements", bytes_of(kind));
  if (count > kLongestArray) cursor.fail("has an array of " + std::to_string(count) + " elements; at most " + std::to_string(kLongestArray) + " are read");
  switch (kind) {
    case GgufKind::kBool: return list_of<bool>(count, [&] { return boolean(cursor); });
    case GgufKind::kString: return list_of<std::string>(count, [&] { return text(cursor); });
    case GgufKind::kF32:
    case GgufKind::kF64: return list_of<double>(count, [&] { return floating(cursor, kind); });
    default: return list_of<int64_t>(count, [&] { return signed_integer(cursor, kind); });
  }
}

GgufValue read_value(ByteCursor& cursor) {
  const auto kind = read_kind(cursor);
  switch (kind) {
    case GgufKind::kArray: return read_array(cursor);
    case GgufKind::kBool: return boolean(cursor);
    case GgufKind::kString: return text(cursor);
    case GgufKind::kF32:
    case GgufKind::kF64: return floating(cursor, kind);
    case GgufKind::kU64: return cursor.read<uint64_t>("a metadata number");
    default: return signed_integer(cursor, kind);
  }
}

}  // namespace

std::map<std::string, GgufValue> read_gguf_metadata(ByteCursor& cursor, uint64_t count) {
  std::map<std::string, GgufValue> metadata;
  for (uint64_t i = 0; i < count; ++i) {
    const std::string key(cursor.read_string("a metadata key", kLongestKey));
    if (key.empty()) cursor.fail("has a metadata entry without a key");
    if (metadata.contains(key)) cursor.fail("has the metadata key " + shown(key) + " twice");
    cursor.set_part("key " + shown(key));
    metadata.emplace(key, read_value(cursor));
    cursor.set_part("");
  }
  return metadata;
}

std::string describe(const GgufValue& value) {
  constexpr std::array<const char*, 9> kNames = {"flag",  "integer",       "integer",         "number",       "text",
                                                 "list of flags", "list of integers", "list of numbers", "list of texts"};
  return kNames[value.index()];
}

}  // namespace graft::formats
