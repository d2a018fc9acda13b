#include "peft_core/formats/dtype.h"

#include <array>

#include "kernels/base/error.h"
#include "peft_core/formats/shown_name.h"

namespace graft::formats {
namespace {

struct Row {
  DType type;
  std::string_view name;
  size_t size;
};

constexpr std::array<Row, 13> kRows = {{
    {DType::kBool, "BOOL", 1}, {DType::kU8, "U8", 1},   {DType::kI8, "I8", 1},   {DType::kI16, "I16", 2}, {DType::kU16, "U16", 2},
    {DType::kF16, "F16", 2},   {DType::kBF16, "BF16", 2}, {DType::kI32, "I32", 4}, {DType::kU32, "U32", 4}, {DType::kF32, "F32", 4},
    {DType::kF64, "F64", 8},   {DType::kI64, "I64", 8}, {DType::kU64, "U64", 8},
}};

const Row& row(DType type) {
  for (const auto& candidate : kRows) {
    if (candidate.type == type) return candidate;
  }
  GRAFT_ASSERT(!"a DType has a row");
  return kRows[0];
}

}  // namespace

size_t size_of(DType type) { return row(type).size; }

std::string_view name_of(DType type) { return row(type).name; }

DType dtype_from_name(std::string_view name, const std::string& where) {
  std::string known;
  for (const auto& candidate : kRows) {
    if (candidate.name == name) return candidate.type;
    known += (known.empty() ? "" : " ") + std::string(candidate.name);
  }
  throw IoError({.where = where, .what = "has an element type that is not supported", .expected = "one of " + known, .got = shown(name)});
}

}  // namespace graft::formats
