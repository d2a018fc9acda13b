#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace graft::formats {

/// Element types of safetensors files.
enum class DType : uint8_t { kBool, kU8, kI8, kI16, kU16, kF16, kBF16, kI32, kU32, kF32, kF64, kI64, kU64 };

size_t size_of(DType type);            ///< bytes an element
std::string_view name_of(DType type);  ///< as the file spells it: "F32", "BF16", ...

/// The inverse of name_of; throws IoError, which names `where` and the known types.
DType dtype_from_name(std::string_view name, const std::string& where);

}  // namespace graft::formats
