#include <limits>

#include "kernels/base/error.h"
#include "peft_core/formats/gguf.h"
#include "peft_core/formats/gguf_metadata.h"
#include "peft_core/formats/shown_name.h"

namespace graft::formats {
namespace {

const GgufValue& entry(const GgufFile& gguf, const std::string& key, const std::string& expected) {
  const auto found = gguf.metadata().find(key);
  if (found == gguf.metadata().end()) {
    throw IoError({.where = gguf.file()->path().string(), .what = "lacks the metadata key " + shown(key), .expected = expected});
  }
  return found->second;
}

[[noreturn]] void wrong_type(const GgufFile& gguf, const std::string& key, const std::string& expected, const GgufValue& value) {
  throw IoError({.where = gguf.file()->path().string() + ": key " + shown(key), .what = "has the wrong type", .expected = expected,
                 .got = describe(value)});
}

template <class T>
const T& typed(const GgufFile& gguf, const std::string& key, const std::string& expected) {
  const auto& value = entry(gguf, key, expected);
  const auto* content = std::get_if<T>(&value);
  if (content == nullptr) wrong_type(gguf, key, expected, value);
  return *content;
}

}  // namespace

int64_t GgufFile::integer(const std::string& key) const {
  const auto& value = entry(*this, key, "integer");
  if (const auto* content = std::get_if<int64_t>(&value)) return *content;
  const auto* content = std::get_if<uint64_t>(&value);
  if (content == nullptr || *content > uint64_t(std::numeric_limits<int64_t>::max())) wrong_type(*this, key, "integer of 63 bits", value);
  return static_cast<int64_t>(*content);
}

double GgufFile::number(const std::string& key) const {
  const auto& value = entry(*this, key, "number");
  if (const auto* content = std::get_if<double>(&value)) return *content;
  if (const auto* content = std::get_if<int64_t>(&value)) return static_cast<double>(*content);
  if (const auto* content = std::get_if<uint64_t>(&value)) return static_cast<double>(*content);
  wrong_type(*this, key, "number", value);
}

const std::string& GgufFile::text(const std::string& key) const { return typed<std::string>(*this, key, "text"); }

const std::vector<std::string>& GgufFile::texts(const std::string& key) const {
  return typed<std::vector<std::string>>(*this, key, "list of texts");
}

std::vector<int64_t> GgufFile::integers(const std::string& key) const { return typed<std::vector<int64_t>>(*this, key, "list of integers"); }

std::vector<double> GgufFile::numbers(const std::string& key) const {
  const auto& value = entry(*this, key, "list of numbers");
  if (const auto* content = std::get_if<std::vector<double>>(&value)) return *content;
  const auto* content = std::get_if<std::vector<int64_t>>(&value);
  if (content == nullptr) wrong_type(*this, key, "list of numbers", value);
  return {content->begin(), content->end()};
}

}  // namespace graft::formats
