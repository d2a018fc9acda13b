#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>

#include "kernels/base/error.h"
#include "peft_core/formats/gguf.h"
#include "peft_core/formats/gguf_metadata.h"
#include "peft_core/formats/shown_name.h"

namespace graft::formats {
namespace {

constexpr uint64_t kAlignment = 32;
constexpr uint32_t kVersion = 3;

uint64_t aligned(uint64_t position) { return (position + kAlignment - 1) / kAlignment * kAlignment; }

[[noreturn]] void refuse(const std::string& where, const std::string& what) { throw InvalidArgument({.where = where, .what = what}); }

/// The head of the file, in memory: it is small beside the tensors and its size must be known before they are placed.
class Head {
 public:
  const std::string& bytes() const { return bytes_; }

  template <class T>
  void number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void text(const std::string& value) {
    number<uint64_t>(value.size());
    bytes_ += value;
  }
  void entry(const GgufEntry& entry);

 private:
  template <class T>
  void integer(const GgufEntry& entry, T value);
  void scalar(const GgufEntry& entry, bool value);
  void scalar(const GgufEntry& entry, int64_t value) { integer(entry, value); }
  void scalar(const GgufEntry& entry, uint64_t value) { integer(entry, value); }
  void scalar(const GgufEntry& entry, double value);
  void scalar(const GgufEntry& entry, const std::string& value);
  template <class T>
  void scalar(const GgufEntry& entry, const std::vector<T>& list);

  std::string bytes_;
};

[[noreturn]] void wrong_type(const GgufEntry& entry) {
  refuse(shown(entry.key), "has a value (" + describe(entry.value) + ") that its type on disk cannot hold");
}

void Head::entry(const GgufEntry& entry) {
  const bool is_list = entry.value.index() >= 5;
  text(entry.key);
  if (is_list) number(static_cast<uint32_t>(GgufKind::kArray));
  number(static_cast<uint32_t>(entry.type));
  std::visit([&](const auto& value) { scalar(entry, value); }, entry.value);
}

template <class T>
void Head::integer(const GgufEntry& entry, T value) {
  switch (entry.type) {
    case GgufScalar::kU32:
      if (!std::in_range<uint32_t>(value)) wrong_type(entry);
      return number(static_cast<uint32_t>(value));
    case GgufScalar::kI32:
      if (!std::in_range<int32_t>(value)) wrong_type(entry);
      return number(static_cast<int32_t>(value));
    case GgufScalar::kU64:
      if (!std::in_range<uint64_t>(value)) wrong_type(entry);
      return number(static_cast<uint64_t>(value));
    case GgufScalar::kF32: return number(static_cast<float>(value));
    default: wrong_type(entry);
  }
}

void Head::scalar(const GgufEntry& entry, bool value) {
  if (entry.type != GgufScalar::kBool) wrong_type(entry);
  number(static_cast<uint8_t>(value));
}

void Head::scalar(const GgufEntry& entry, double value) {
  if (entry.type != GgufScalar::kF32) wrong_type(entry);
  number(static_cast<float>(value));
}

void Head::scalar(const GgufEntry& entry, const std::string& value) {
  if (entry.type != GgufScalar::kString) wrong_type(entry);
  text(value);
}

template <class T>
void Head::scalar(const GgufEntry& entry, const std::vector<T>& list) {
  number<uint64_t>(list.size());
  for (const auto& value : list) scalar(entry, static_cast<const T&>(value));
}

/// Checks name and shape; returns the bytes that the shape asks for.
uint64_t checked_size(const GgufTensor& tensor) {
  const auto layout = kernels::block_layout(tensor.type);
  const auto where = "tensor " + shown(tensor.name);
  if (tensor.name.empty() || tensor.name.size() > 63) refuse(where, "needs a name of 1 to 63 bytes, as llama.cpp has it");
  if (tensor.shape.empty() || tensor.shape.size() > 4) refuse(where, "needs 1 to 4 dimensions");
  int64_t elements = 1;
  for (const auto extent : tensor.shape) {
    if (extent < 1 || __builtin_mul_overflow(elements, extent, &elements)) refuse(where, "has an impossible shape");
  }
  const auto block = static_cast<int64_t>(layout.elements);
  if (tensor.shape.back() % block != 0) refuse(where, "has rows that do not fill whole blocks of " + std::string(layout.name));
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<uint64_t>(elements / block), layout.bytes, &bytes)) refuse(where, "has an impossible shape");
  return bytes;
}

std::string head_of(std::span<const GgufEntry> metadata, std::span<const GgufTensor> tensors) {
  Head head;
  std::set<std::string> names;
  head.number(std::array<char, 4>{'G', 'G', 'U', 'F'});
  head.number(kVersion);
  head.number<uint64_t>(tensors.size());
  head.number<uint64_t>(metadata.size());
  for (const auto& entry : metadata) {
    if (entry.key.empty() || entry.key.size() > 65535 || !names.insert(entry.key).second) refuse(shown(entry.key), "is not a key, or comes twice");
    if (entry.key == "general.alignment") refuse(entry.key, "cannot be chosen: tensors are aligned to 32 bytes");
    head.entry(entry);
  }
  names.clear();
  uint64_t offset = 0;
  for (const auto& tensor : tensors) {
    const auto size = checked_size(tensor);
    if (!names.insert(tensor.name).second) refuse("tensor " + shown(tensor.name), "comes twice");
    head.text(tensor.name);
    head.number(static_cast<uint32_t>(tensor.shape.size()));
    for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent) head.number(static_cast<uint64_t>(*extent));
    head.number(static_cast<uint32_t>(tensor.type));
    head.number(offset);
    offset = aligned(offset + size);
  }
  return head.bytes();
}

void write_padded(std::ostream& out, const char* bytes, uint64_t size) {
  constexpr std::array<char, kAlignment> kZeros{};
  out.write(bytes, static_cast<std::streamsize>(size));
  out.write(kZeros.data(), static_cast<std::streamsize>(aligned(size) - size));
}

}  // namespace

void write_gguf(const std::filesystem::path& file, std::span<const GgufEntry> metadata, std::span<const GgufTensor> tensors) {
  for (const auto& tensor : tensors)
    if (tensor.bytes.size() != checked_size(tensor)) refuse("tensor " + shown(tensor.name), "has a shape that disagrees with its bytes");
  write_gguf(file, metadata, tensors, [&](size_t index) { return tensors[index].bytes; });
}

void write_gguf(const std::filesystem::path& file, std::span<const GgufEntry> metadata, std::span<const GgufTensor> tensors,
                const std::function<std::span<const std::byte>(size_t index)>& bytes_of) {
  const auto head = head_of(metadata, tensors);
  write_file_atomically(file, [&](std::ostream& out) {
    write_padded(out, head.data(), head.size());
    for (size_t i = 0; i < tensors.size() && out; ++i) {
      const auto bytes = bytes_of(i);
      GRAFT_ASSERT(bytes.size() == checked_size(tensors[i]));
      write_padded(out, reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
  });
}

}  // namespace graft::formats
