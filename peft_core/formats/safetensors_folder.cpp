#include <set>

#include "kernels/base/error.h"
#include "peft_core/formats/shown_name.h"
#include "peft_core/formats/safetensors.h"
#include "peft_core/formats/strict_json.h"

namespace graft::formats {
namespace {

constexpr size_t kLargestIndex = 64 << 20;  // bytes; the index of a 405B model has 0.1 MB

/// {"metadata": {...}, "weight_map": {tensor: shard}}
class IndexReader : public StrictJsonReader {
 public:
  explicit IndexReader(const std::string& where) : StrictJsonReader(where, 4) {}
  std::map<std::string, std::string> weight_map;

 private:
  bool in_map() const { return !path().empty() && path()[0] == "weight_map"; }
  void on_open_object() override {
    if (in_map() && path().size() > 1) fail("has an object for the tensor " + shown(path()[1]));
  }
  void on_open_array() override {
    if (path().empty() || in_map()) fail("has an array where the shards' names belong");
  }
  void on_scalar(const Json& value) override {
    if (!in_map()) return;
    if (path().size() != 2 || !value.is_string()) fail("has a weight_map that is not from names to files");
    weight_map.emplace(path()[1], value.get<std::string>());
  }
};

/// A shard must be a file of this very folder: an index from elsewhere must not make us read other places.
void check_shard_name(const std::string& shard, const std::string& where) {
  constexpr size_t kLongestName = 255;  // of a file, on usual systems; a longer one cannot even be asked for
  const bool plain = shard.size() <= kLongestName && shard.find_first_of(std::string("/\\\0", 3)) == std::string::npos && !shard.empty() && shard.front() != '.';
  if (!plain || !shard.ends_with(".safetensors")) {
    throw IoError({.where = where, .what = "names a shard that is not a file of its folder", .expected = "name.safetensors", .got = shown(shard)});
  }
}

std::map<std::string, std::string> read_index(const std::filesystem::path& file) {
  const auto mapped = MappedFile::open(file);
  if (mapped->bytes().size() > kLargestIndex) throw IoError({.where = file.string(), .what = "is too large for an index of shards"});
  IndexReader reader(file.string());
  reader.read(mapped->text());
  if (reader.weight_map.empty()) throw IoError({.where = file.string(), .what = "has no weight_map, or an empty one"});
  for (const auto& [tensor, shard] : reader.weight_map) check_shard_name(shard, file.string());
  return std::move(reader.weight_map);
}

/// "model-00001-of-00003.safetensors" -> "-of-00003.safetensors"; empty for other names.
std::string shard_family(const std::string& shard) {
  const auto place = shard.rfind("-of-");
  return place == std::string::npos ? std::string() : shard.substr(place);
}

/// Without the exceptions of std::filesystem: what cannot be looked at counts as absent, and opening it gives the reason.
bool is_there(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

void check_no_stray_shard(const std::filesystem::path& folder, const std::string& stem, const std::set<std::string>& shards,
                          const std::string& index) {
  std::set<std::string> families;
  for (const auto& shard : shards) families.insert(shard_family(shard));
  std::error_code error;
  const std::filesystem::directory_iterator entries(folder, error);
  if (error) throw IoError({.where = folder.string(), .what = "cannot be listed: " + error.message()});
  for (const auto& entry : entries) {
    const auto name = entry.path().filename().string();
    const auto family = shard_family(name);
    if (!name.starts_with(stem + "-") || family.empty() || !families.contains(family) || shards.contains(name)) continue;
    throw IoError({.where = index, .what = "does not name the shard " + shown(name) + ", which lies beside it", .hint = "the index is incomplete"});
  }
}

}  // namespace

SafetensorsFile SafetensorsFile::open_folder(const std::filesystem::path& folder, const std::string& stem) {
  const auto single = folder / (stem + ".safetensors");
  const auto index = folder / (stem + ".safetensors.index.json");
  if (is_there(single)) return open(single);
  if (!is_there(index)) {
    throw IoError({.where = folder.string(), .what = "holds no weights", .expected = single.filename().string() + " or " + index.filename().string()});
  }
  const auto weight_map = read_index(index);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : weight_map) shards.insert(shard);
  check_no_stray_shard(folder, stem, shards, index.string());

  SafetensorsFile result;
  for (const auto& shard : shards) {
    if (!is_there(folder / shard)) {
      throw IoError({.where = index.string(), .what = "names the shard " + shown(shard) + ", which is not there", .hint = "download it again"});
    }
    const auto part = open(folder / shard);
    result.files_.push_back(part.files_.front());
    result.metadata_.insert(part.metadata_.begin(), part.metadata_.end());
    for (const auto& [name, tensor] : part.tensors_) {
      const auto entry = weight_map.find(name);
      if (entry == weight_map.end() || entry->second != shard) {
        throw IoError({.where = (folder / shard).string(), .what = "holds the tensor " + shown(name) + ", which the index does not place there"});
      }
      result.tensors_.emplace(name, tensor);
    }
  }
  for (const auto& [name, shard] : weight_map) {
    if (!result.tensors_.contains(name)) {
      throw IoError({.where = (folder / shard).string(), .what = "lacks the tensor " + shown(name) + ", which the index places there"});
    }
  }
  return result;
}

}  // namespace graft::formats
