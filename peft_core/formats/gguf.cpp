#include "peft_core/formats/gguf.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "kernels/base/error.h"
#include "peft_core/formats/byte_cursor.h"
#include "peft_core/formats/gguf_metadata.h"
#include "peft_core/formats/shown_name.h"

static_assert(std::endian::native == std::endian::little, "tensors are used as they lie in the file, which is little-endian");

namespace graft::formats {
namespace {

constexpr uint64_t kLongestName = 1024;    // bytes of a tensor's name; llama.cpp stops at 64
constexpr uint32_t kMostDimensions = 4;    // as the format has it
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kLargestAlignment = 1 << 20;

struct Placed {
  GgufTensor tensor;
  uint64_t offset = 0;  ///< from the start of the data
  uint64_t size = 0;
};

/// Returns the counts of tensors and of metadata entries.
std::pair<uint64_t, uint64_t> read_head(ByteCursor& cursor) {
  constexpr uint64_t kLeastTensor = 8 + 4 + 4 + 8, kLeastEntry = 8 + 4 + 1;
  const auto magic = cursor.take(4, "its first four bytes");
  if (std::string_view(reinterpret_cast<const char*>(magic.data()), 4) != "GGUF") cursor.fail("is not a GGUF file: it does not start with GGUF");
  const auto version = cursor.read<uint32_t>("its version");
  if (version == 0x02000000 || version == 0x03000000) cursor.fail("is a big-endian GGUF file, which is not supported");
  if (version != 2 && version != 3) cursor.fail("has GGUF version " + std::to_string(version) + "; versions 2 and 3 are read");
  const auto tensors = cursor.read_count("tensors", kLeastTensor);
  const auto entries = cursor.read_count("metadata entries", kLeastEntry);
  return {tensors, entries};
}

uint64_t alignment_of(const std::map<std::string, GgufValue>& metadata, const ByteCursor& cursor) {
  const auto entry = metadata.find("general.alignment");
  if (entry == metadata.end()) return kDefaultAlignment;
  const auto* value = std::get_if<int64_t>(&entry->second);
  const bool sound = value != nullptr && *value > 0 && std::has_single_bit(static_cast<uint64_t>(*value)) && uint64_t(*value) <= kLargestAlignment;
  if (!sound) cursor.fail("has a general.alignment that is not a power of two up to " + std::to_string(kLargestAlignment));
  return static_cast<uint64_t>(*value);
}

uint64_t aligned(uint64_t position, uint64_t alignment) { return (position + alignment - 1) / alignment * alignment; }

kernels::GgmlType read_type(ByteCursor& cursor) {
  const auto number = cursor.read<uint32_t>("the tensor's type");
  if (!kernels::is_known_ggml_type(number)) {
    throw IoError({.where = cursor.where(), .what = "has an element type that is not supported",
                   .expected = "F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K", .got = "type " + std::to_string(number),
                   .hint = "take the model in one of these, for example Q4_K_M or Q8_0"});
  }
  return static_cast<kernels::GgmlType>(number);
}

uint64_t size_in_bytes(const GgufTensor& tensor, const ByteCursor& cursor) {
  const auto layout = kernels::block_layout(tensor.type);
  int64_t elements = 1;
  for (const auto extent : tensor.shape) {
    if (__builtin_mul_overflow(elements, extent, &elements)) cursor.fail("has a shape that is too large for any file");
  }
  const auto row = tensor.shape.empty() ? 1 : static_cast<uint64_t>(tensor.shape.back());
  if (row % layout.elements != 0) {
    throw IoError({.where = cursor.where(), .what = "has rows that do not fill whole blocks of " + std::string(layout.name),
                   .expected = "a multiple of " + std::to_string(layout.elements), .got = std::to_string(row)});
  }
  int64_t bytes = 0;
  if (__builtin_mul_overflow(elements / static_cast<int64_t>(layout.elements), static_cast<int64_t>(layout.bytes), &bytes)) {
    cursor.fail("has a shape that is too large for any file");
  }
  return static_cast<uint64_t>(bytes);
}

Placed read_tensor(ByteCursor& cursor) {
  Placed placed;
  placed.tensor.name = cursor.read_string("a tensor's name", kLongestName);
  cursor.set_part("tensor " + shown(placed.tensor.name));
  const auto dimensions = cursor.read<uint32_t>("the tensor's shape");
  if (dimensions > kMostDimensions) cursor.fail("has " + std::to_string(dimensions) + " dimensions; at most 4 are read");
  for (uint32_t d = 0; d < dimensions; ++d) {
    const auto extent = cursor.read<uint64_t>("the tensor's shape");
    if (extent == 0 || extent > uint64_t(std::numeric_limits<int64_t>::max())) cursor.fail("has an impossible extent " + std::to_string(extent));
    placed.tensor.shape.insert(placed.tensor.shape.begin(), static_cast<int64_t>(extent));
  }
  placed.tensor.type = read_type(cursor);
  placed.offset = cursor.read<uint64_t>("the tensor's offset");
  placed.size = size_in_bytes(placed.tensor, cursor);
  cursor.set_part("");
  return placed;
}

/// Each tensor begins where the one before ends, rounded up; nothing but padding may follow the last. Anything else is a damaged file.
void check_layout(std::vector<Placed>& tensors, uint64_t alignment, uint64_t data_size, const std::string& file) {
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  uint64_t end = 0;
  for (const auto& placed : tensors) {
    const auto where = file + ": tensor " + shown(placed.tensor.name);
    if (placed.size > data_size || placed.offset > data_size - placed.size) {
      throw IoError({.where = where, .what = "lies beyond the end of the file", .expected = "at most " + std::to_string(data_size) + " bytes of data",
                     .got = std::to_string(placed.size) + " bytes from " + std::to_string(placed.offset), .hint = "the file may be truncated"});
    }
    if (placed.offset != aligned(end, alignment)) {
      throw IoError({.where = where, .what = placed.offset < end ? "overlaps another tensor" : "does not follow the tensor before it",
                     .expected = "offset " + std::to_string(aligned(end, alignment)), .got = std::to_string(placed.offset)});
    }
    end = placed.offset + placed.size;
  }
  if (data_size > aligned(end, alignment)) {
    throw IoError({.where = file, .what = "has bytes after its last tensor", .expected = "at most " + std::to_string(aligned(end, alignment)) +
                   " bytes of data", .got = std::to_string(data_size)});
  }
}

}  // namespace

GgufFile GgufFile::open(const std::filesystem::path& path) {
  GgufFile result;
  result.file_ = MappedFile::open(path);
  const auto bytes = result.file_->bytes();
  ByteCursor cursor(bytes, path.string());
  const auto [tensor_count, entry_count] = read_head(cursor);
  result.metadata_ = read_gguf_metadata(cursor, entry_count);
  const auto alignment = alignment_of(result.metadata_, cursor);

  std::vector<Placed> tensors;
  for (uint64_t i = 0; i < tensor_count; ++i) tensors.push_back(read_tensor(cursor));
  const auto start = std::min<uint64_t>(aligned(cursor.position(), alignment), bytes.size());
  const auto data = bytes.subspan(start);
  check_layout(tensors, alignment, data.size(), path.string());

  for (auto& placed : tensors) {
    placed.tensor.bytes = data.subspan(placed.offset, placed.size);
    const auto name = placed.tensor.name;
    if (!result.tensors_.emplace(name, std::move(placed.tensor)).second) cursor.fail("has the tensor " + shown(name) + " twice");
  }
  return result;
}

}  // namespace graft::formats
