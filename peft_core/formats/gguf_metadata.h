#pragma once

#include <map>
#include <string>

#include "peft_core/formats/byte_cursor.h"
#include "peft_core/formats/gguf.h"

namespace graft::formats {

/// Type numbers of GGUF metadata, all of them.
enum class GgufKind : uint32_t { kU8 = 0, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

/// Reads `count` entries. Throws IoError naming file and key.
std::map<std::string, GgufValue> read_gguf_metadata(ByteCursor& cursor, uint64_t count);

/// What a value is, in words: "integer", "list of texts", ...
std::string describe(const GgufValue& value);

}  // namespace graft::formats
