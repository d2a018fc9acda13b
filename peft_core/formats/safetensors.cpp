#include "peft_core/formats/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/base/error.h"
#include "peft_core/formats/shown_name.h"
#include "peft_core/formats/safetensors_header.h"

static_assert(std::endian::native == std::endian::little, "tensors are used as they lie in the file, which is little-endian");

namespace graft::formats {
namespace {

constexpr size_t kPrefix = 8;  // bytes of the header's length

std::string_view header_text(const MappedFile& file) {
  const auto name = file.path().string();
  const auto bytes = file.bytes();
  if (bytes.size() < kPrefix) {
    throw IoError({.where = name, .what = "is too short for a safetensors file", .got = std::to_string(bytes.size()) + " bytes"});
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kPrefix);
  if (length > kLargestHeader) {
    throw IoError({.where = name, .what = "claims a header that is too large", .expected = "at most " + std::to_string(kLargestHeader) + " bytes",
                   .got = std::to_string(length), .hint = "is it a safetensors file?"});
  }
  if (length > bytes.size() - kPrefix) {
    throw IoError({.where = name, .what = "is truncated inside its header", .expected = std::to_string(length) + " bytes",
                   .got = std::to_string(bytes.size() - kPrefix)});
  }
  const auto text = file.text().substr(kPrefix, length);
  if (text.empty() || text.front() != '{') throw IoError({.where = name, .what = "has a header that does not start with {"});
  return text;
}

/// The format asks for data without gaps, overlaps or a tail, which also keeps a file from hiding something.
void check_layout(std::vector<HeaderTensor>& tensors, uint64_t data_size, const std::string& name) {
  std::stable_sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  uint64_t position = 0;
  for (const auto& tensor : tensors) {
    const auto where = name + ": tensor " + shown(tensor.name);
    if (tensor.end > data_size) {
      throw IoError({.where = where, .what = "lies beyond the end of the file", .expected = "at most " + std::to_string(data_size) + " bytes of data",
                     .got = std::to_string(tensor.end), .hint = "the file may be truncated"});
    }
    if (tensor.begin != position) {
      throw IoError({.where = where, .what = tensor.begin < position ? "overlaps another tensor" : "leaves a gap before it",
                     .expected = "a start at " + std::to_string(position), .got = std::to_string(tensor.begin)});
    }
    position = tensor.end;
  }
  if (position != data_size) {
    throw IoError({.where = name, .what = "has bytes after its last tensor", .expected = std::to_string(position) + " bytes of data",
                   .got = std::to_string(data_size)});
  }
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& file) {
  const auto mapped = MappedFile::open(file);
  const auto text = header_text(*mapped);
  auto header = parse_safetensors_header(text, file.string());
  const auto data = mapped->bytes().subspan(kPrefix + text.size());
  check_layout(header.tensors, data.size(), file.string());

  SafetensorsFile result;
  result.files_ = {mapped};
  result.metadata_ = std::move(header.metadata);
  for (auto& tensor : header.tensors) {
    const auto bytes = data.subspan(tensor.begin, tensor.end - tensor.begin);
    result.tensors_.emplace(std::move(tensor.name), TensorBytes{tensor.dtype, std::move(tensor.shape), bytes});
  }
  return result;
}

}  // namespace graft::formats
