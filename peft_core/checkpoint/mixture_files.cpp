#include "peft_core/checkpoint/mixture_files.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/files.h"
#include "peft_core/base/json_files.h"

namespace graft::peft {
namespace {

constexpr const char* kFormat = "graft-mixture-1";

/// A folder inside the mixture's: a path that leads elsewhere would read what its sender was not asked for.
std::filesystem::path inside(const std::filesystem::path& mixture, const std::string& folder) {
  expect_adapter_name(folder);
  return mixture / folder;
}

}  // namespace

bool is_mixture(const std::filesystem::path& folder) { return std::filesystem::exists(folder / kMixtureFile); }

std::vector<MixturePart> read_mixture(const std::filesystem::path& folder) {
  const auto file = folder / kMixtureFile;
  const auto json = read_json_file(file);
  std::vector<MixturePart> parts;
  try {
    if (!json.is_object() || json.value("format", "") != kFormat)
      throw InvalidArgument({.where = file.string(), .what = "is no list of adapters", .expected = std::string("format ") + kFormat});
    for (const auto& part : json.at("adapters")) {
      const auto name = part.at("name").get<std::string>();
      expect_adapter_name(name);
      parts.push_back({name, inside(folder, part.value("folder", name)), part.value("weight", 1.0)});
    }
  } catch (const nlohmann::json::exception& error) {
    throw InvalidArgument({.where = file.string(), .what = "lacks a key or has one of the wrong type", .hint = error.what()});
  }
  if (parts.empty()) throw InvalidArgument({.where = file.string(), .what = "lists no adapter"});
  return parts;
}

std::unique_ptr<AdapterMixture> attach_mixture(const std::vector<MixturePart>& parts, Places& places, const std::string& base_fingerprint,
                                               bool accept_other_base) {
  auto mixture = std::make_unique<AdapterMixture>(places);
  for (const auto& part : parts) {
    const auto files = read_adapter(part.folder);
    mixture->add(part.name, part.weight, [&] { return attach_adapter(files, places, base_fingerprint, accept_other_base, part.folder.string()); });
  }
  return mixture;
}

namespace {

/// Each adapter lies in the folder of its name.
void write_list(const std::filesystem::path& folder, const std::vector<std::string>& names, const AdapterWeights& weights) {
  auto list = nlohmann::ordered_json::array();
  for (size_t i = 0; i < names.size(); ++i) list.push_back({{"name", names[i]}, {"folder", names[i]}, {"weight", weights[i]}});
  const nlohmann::ordered_json json = {{"format", kFormat}, {"adapters", list}};
  write_file_atomically(folder / kMixtureFile, json.dump(2) + "\n");
}

}  // namespace

void write_mixture(const std::filesystem::path& folder, const AdapterMixture& mixture, const AdapterOrigin& origin) {
  for (size_t i = 0; i < mixture.names().size(); ++i) {
    const auto part_folder = folder / mixture.names()[i];
    std::filesystem::create_directories(part_folder);
    write_adapter(part_folder, mixture.part(i), origin);
  }
  write_list(folder, mixture.names(), mixture.weights());
}

void write_mixture(const std::filesystem::path& folder, const std::vector<MixturePart>& parts) {
  std::vector<std::string> names;
  AdapterWeights weights;
  for (const auto& part : parts) {
    std::filesystem::create_directories(folder / part.name);
    for (const auto* file : {"adapter_model.safetensors", "adapter_config.json"})
      write_file_atomically(folder / part.name / file, MappedFile::open(part.folder / file)->text());
    names.push_back(part.name);
    weights.push_back(part.weight);
  }
  write_list(folder, names, weights);
}

}  // namespace graft::peft
