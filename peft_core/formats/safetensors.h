#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "peft_core/base/files.h"
#include "peft_core/formats/dtype.h"

namespace graft::formats {

/// One tensor of a file, or one to be written. `bytes` is row-major, little-endian, and not owned.
struct TensorBytes {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

using Metadata = std::map<std::string, std::string>;

/// A safetensors file, or a folder's sharded set, mapped and checked.
///
/// Throws   IoError naming file and tensor: truncated, header too large or too deep, unknown dtype, offsets outside the file,
///          overlapping or missing bytes, shape and size that disagree, a tensor that the index names and no shard holds.
/// Source   https://huggingface.co/docs/safetensors, format section.
class SafetensorsFile {
 public:
  /// One `*.safetensors` file.
  static SafetensorsFile open(const std::filesystem::path& file);
  /// `model.safetensors`, or `model.safetensors.index.json` with its shards, in a folder.
  static SafetensorsFile open_folder(const std::filesystem::path& folder, const std::string& stem = "model");

  const std::map<std::string, TensorBytes>& tensors() const { return tensors_; }
  const Metadata& metadata() const { return metadata_; }
  /// The mapped files; a tensor's bytes live as long as these do.
  const std::vector<std::shared_ptr<const MappedFile>>& files() const { return files_; }

 private:
  std::map<std::string, TensorBytes> tensors_;
  Metadata metadata_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
};

/// Writes one file atomically; the same tensors give the same bytes. Wide elements come first, then names in order, so that every
/// tensor is aligned to its element (the format allows no padding).
/// Throws   InvalidArgument if shape and bytes disagree or a name is not UTF-8; IoError if the disk refuses.
void write_safetensors(const std::filesystem::path& file, const std::map<std::string, TensorBytes>& tensors,
                       const Metadata& metadata = {});
/// The same with the bytes made one tensor at a time, so that the file never stands in memory: `bytes_of(name)` gives those of a tensor,
/// whose `bytes` in `tensors` count for nothing; they have to last until the next call.
void write_safetensors(const std::filesystem::path& file, const std::map<std::string, TensorBytes>& tensors, const Metadata& metadata,
                       const std::function<std::span<const std::byte>(const std::string& name)>& bytes_of);

}  // namespace graft::formats
