#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "peft_core/formats/safetensors.h"

namespace graft::formats {

struct HeaderTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  ///< bytes from the start of the data
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<HeaderTensor> tensors;  ///< as the file orders them
  Metadata metadata;
};

constexpr uint64_t kLargestHeader = 100'000'000;  ///< the format's own limit, in bytes

/// Reads the JSON of a safetensors file. Each entry is whole and its size agrees with its shape; how the entries lie in the file is
/// not looked at. Throws IoError that names `where`.
SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& where);

/// Bytes that `shape` takes; false if the number does not fit 63 bits.
bool tensor_bytes(DType dtype, const std::vector<int64_t>& shape, uint64_t& bytes);

}  // namespace graft::formats
