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

void check(Entry entry) {
  uint64_t bytes = 0;
  const auto& [name, tensor] = *entry;
  if (name == "__metadata__") throw InvalidArgument({.where = name, .what = "is not a name for a tensor"});
  if (!tensor_bytes(tensor.dtype, tensor.shape, bytes) || bytes != tensor.bytes.size()) {
    throw InvalidArgument({.where = shown(name), .what = "has a shape that disagrees with its bytes", .expected = std::to_string(bytes),
                           .got = std::to_string(tensor.bytes.size())});
  }
}

std::string header_entry(const TensorBytes& tensor, uint64_t begin) {
  std::string shape;
  for (const auto extent : tensor.shape) shape += (shape.empty() ? "" : ",") + std::to_string(extent);
  return "{\"dtype\":\"" + std::string(name_of(tensor.dtype)) + "\",\"shape\":[" + shape + "],\"data_offsets\":[" + std::to_string(begin) + "," +
         std::to_string(begin + tensor.bytes.size()) + "]}";
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
    json += separator + json_string(entry->first) + ":" + header_entry(entry->second, begin);
    begin += entry->second.bytes.size();
    separator = ",";
  }
  json += "}";
  json.append((8 - json.size() % 8) % 8, ' ');
  return json;
}

}  // namespace

void write_safetensors(const std::filesystem::path& file, const std::map<std::string, TensorBytes>& tensors, const Metadata& metadata) {
  std::vector<Entry> entries;
  for (const auto& entry : tensors) {
    check(&entry);
    entries.push_back(&entry);
  }
  // The format has no room for padding between tensors; wide elements first keeps every tensor aligned to its element.
  std::stable_sort(entries.begin(), entries.end(), [](Entry a, Entry b) { return size_of(a->second.dtype) > size_of(b->second.dtype); });
  const auto json = header_json(entries, metadata);
  if (json.size() > kLargestHeader) throw InvalidArgument({.where = file.string(), .what = "would get a header beyond the format's limit"});
  write_file_atomically(file, [&](std::ostream& out) {
    const uint64_t length = json.size();
    out.write(reinterpret_cast<const char*>(&length), sizeof length);
    out << json;
    for (const auto* entry : entries) {
      const auto& bytes = entry->second.bytes;
      out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    }
  });
}

}  // namespace graft::formats
