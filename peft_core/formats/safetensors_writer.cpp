#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/formats/shown_name.h"
#include "peft_core/formats/safetensors.h"
#include "peft_core/formats/safetensors_header.h"

namespace graft::formats {
namespace {

using Entry = const std::pair<const std::string, TensorBytes>*;

std::string json_string(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw InvalidArgument({.where = shown(text), .what = "cannot be written to safetensors: it is not UTF-8"});
  }
}

/// Checks name and shape; returns the bytes that the shape asks for.
uint64_t checked_size(Entry entry) {
  uint64_t bytes = 0;
  const auto& [name, tensor] = *entry;
  if (name == "__metadata__") throw InvalidArgument({.where = name, .what = "is not a name for a tensor"});
  if (!tensor_bytes(tensor.dtype, tensor.shape, bytes)) throw InvalidArgument({.where = shown(name), .what = "has an impossible shape"});
  return bytes;
}

void expect_size(Entry entry) {
  const auto size = checked_size(entry);
  if (size == entry->second.bytes.size()) return;
  throw InvalidArgument({.where = shown(entry->first), .what = "has a shape that disagrees with its bytes", .expected = std::to_string(size),
                         .got = std::to_string(entry->second.bytes.size())});
}

std::string header_entry(const TensorBytes& tensor, uint64_t begin, uint64_t size) {
  std::string shape;
  for (const auto extent : tensor.shape) shape += (shape.empty() ? "" : ",") + std::to_string(extent);
  return "{\"dtype\":\"" + std::string(name_of(tensor.dtype)) + "\",\"shape\":[" + shape + "],\"data_offsets\":[" + std::to_string(begin) + "," +
         std::to_string(begin + size) + "]}";
}

std::string header_json(const std::vector<Entry>& entries, const Metadata& metadata) {
  std::string json = "{", separator;
  if (!metadata.empty()) {
    json += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      json += separator + json_string(key) + ":" + json_string(value);
      separator = ",";
    }
    json += "}";
  }
  uint64_t begin = 0;
  for (const auto* entry : entries) {
    const auto size = checked_size(entry);
    json += separator + json_string(entry->first) + ":" + header_entry(entry->second, begin, size);
    begin += size;
    separator = ",";
  }
  json += "}";
  json.append((8 - json.size() % 8) % 8, ' ');
  return json;
}

}  // namespace

void write_safetensors(const std::filesystem::path& file, const std::map<std::string, TensorBytes>& tensors, const Metadata& metadata) {
  for (const auto& entry : tensors) expect_size(&entry);
  write_safetensors(file, tensors, metadata, [&](const std::string& name) { return tensors.at(name).bytes; });
}

void write_safetensors(const std::filesystem::path& file, const std::map<std::string, TensorBytes>& tensors, const Metadata& metadata,
                       const std::function<std::span<const std::byte>(const std::string& name)>& bytes_of) {
  std::vector<Entry> entries;
  for (const auto& entry : tensors) entries.push_back(&entry);
  // The format has no room for padding between tensors; wide elements first keeps every tensor aligned to its element.
  std::stable_sort(entries.begin(), entries.end(), [](Entry a, Entry b) { return size_of(a->second.dtype) > size_of(b->second.dtype); });
  const auto json = header_json(entries, metadata);
  if (json.size() > kLargestHeader) throw InvalidArgument({.where = file.string(), .what = "would get a header beyond the format's limit"});
  write_file_atomically(file, [&](std::ostream& out) {
    const uint64_t length = json.size();
    out.write(reinterpret_cast<const char*>(&length), sizeof length);
    out << json;
    for (size_t i = 0; i < entries.size() && out; ++i) {
      const auto bytes = bytes_of(entries[i]->first);
      GRAFT_ASSERT(bytes.size() == checked_size(entries[i]));
      out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    }
  });
}

}  // namespace graft::formats
