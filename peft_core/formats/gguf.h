#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "kernels/gguf_blocks/gguf_blocks.h"
#include "peft_core/base/files.h"

namespace graft::formats {

/// A metadata value. Integers of every width come as int64 or uint64, floats as double; arrays are typed.
using GgufValue = std::variant<bool, int64_t, uint64_t, double, std::string, std::vector<bool>, std::vector<int64_t>,
                               std::vector<double>, std::vector<std::string>>;

struct GgufTensor {
  std::string name;
  kernels::GgmlType type = kernels::GgmlType::kF32;
  std::vector<int64_t> shape;         ///< outermost first, as torch has it (the file stores it reversed)
  std::span<const std::byte> bytes;   ///< not owned
};

/// A GGUF file (versions 2 and 3), mapped and checked.
///
/// Throws   IoError naming file and key or tensor: truncated, counts or strings beyond the file, nested arrays, unknown tensor type,
///          offsets outside the file or overlapping, rows that do not fill whole blocks, duplicate names.
class GgufFile {
 public:
  static GgufFile open(const std::filesystem::path& file);

  const std::map<std::string, GgufValue>& metadata() const { return metadata_; }
  const std::map<std::string, GgufTensor>& tensors() const { return tensors_; }
  const std::shared_ptr<const MappedFile>& file() const { return file_; }

  bool has(const std::string& key) const { return metadata_.contains(key); }
  /// Typed access with a clear error: IoError names the file, the key, the expected and the found type.
  int64_t integer(const std::string& key) const;
  double number(const std::string& key) const;  ///< float or integer
  const std::string& text(const std::string& key) const;
  const std::vector<std::string>& texts(const std::string& key) const;
  std::vector<int64_t> integers(const std::string& key) const;
  std::vector<double> numbers(const std::string& key) const;

 private:
  std::map<std::string, GgufValue> metadata_;
  std::map<std::string, GgufTensor> tensors_;
  std::shared_ptr<const MappedFile> file_;
};

/// A metadata entry to be written with its exact on-disk type (llama.cpp is strict about uint32 against int32).
enum class GgufScalar : uint32_t { kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8, kU64 = 10 };
struct GgufEntry {
  std::string key;
  GgufScalar type = GgufScalar::kString;  ///< element type if `value` is an array
  GgufValue value;
};

/// Writes GGUF version 3 atomically, tensor data aligned to 32 bytes, in the order given.
void write_gguf(const std::filesystem::path& file, std::span<const GgufEntry> metadata, std::span<const GgufTensor> tensors);
/// The same with the bytes made one tensor at a time, so that the file never stands in memory: `bytes_of(i)` gives those of tensors[i],
/// whose own `bytes` count for nothing; they have to last until the next call.
void write_gguf(const std::filesystem::path& file, std::span<const GgufEntry> metadata, std::span<const GgufTensor> tensors,
                const std::function<std::span<const std::byte>(size_t index)>& bytes_of);

}  // namespace graft::formats
