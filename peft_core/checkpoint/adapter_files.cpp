#include "peft_core/checkpoint/adapter_files.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "peft_core/base/log.h"
#include "peft_core/base/text_distance.h"
#include "peft_core/checkpoint/tensor_bytes.h"
#include "peft_core/formats/shown_name.h"

namespace graft::peft {
namespace {

using nlohmann::json;

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kSharedPrefix = "base_model.";  // of tensors that belong to no layer; their names keep it here
constexpr const char* kFingerprintKey = "graft.base_fingerprint";

// Keys that PEFT 0.21 writes for every method.
const std::vector<std::string> kSharedKeys = {
    "peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "target_modules",
    "exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern", "runtime_config"};

bool contains(const std::vector<std::string>& values, const std::string& value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

json read_config_json(const std::filesystem::path& folder) {
  const auto file = folder / "adapter_config.json";
  if (!std::filesystem::exists(file))
    throw IoError({.where = folder.string(), .what = "holds no adapter_config.json",
                   .expected = "a run folder or a folder of a Hugging Face PEFT adapter"});
  auto config = read_json_file(file);
  if (!config.is_object() || !config.contains("peft_type") || !config["peft_type"].is_string())
    throw IoError({.where = file.string(), .what = "is no adapter config", .expected = "a JSON object with peft_type"});
  return config;
}

/// Methods that share a type of PEFT's share its keys.
bool known_to_its_type(const std::string& key, const std::string& peft_type) {
  return std::any_of(builtin_methods().begin(), builtin_methods().end(), [&](const MethodSpec& method) {
    return method.published.peft_type == peft_type && contains(method.published.keys, key);
  });
}

/// What is from a newer version or another tool.
std::string unknown_keys_of(const json& config, const MethodSpec& method, const std::string& where) {
  json unknown = json::object();
  for (const auto& [key, value] : config.items())
    if (!contains(kSharedKeys, key) && !known_to_its_type(key, method.published.peft_type)) unknown[key] = value;
  if (unknown.empty()) return {};
  std::vector<std::string> names;
  for (const auto& [key, value] : unknown.items()) names.push_back(key);
  log_warning("[" + where + "] keys that are not known here are kept and otherwise ignored: " + join(names));
  return unknown.dump();
}

bool belongs_to_method(const std::string& name, const MethodSpec& method) {
  const auto& marks = method.published.tensor_marks;
  return std::any_of(marks.begin(), marks.end(), [&](const std::string& mark) { return name.find(mark) != std::string::npos; });
}

/// PEFT writes the tensors that all layers of a RandLoRA model share once for all, as "base_model.NAME", and once more for every layer.
bool is_repetition(const std::string& stored_name, const formats::SafetensorsFile& file) {
  const auto name = stored_name.substr(stored_name.rfind('.') + 1);
  return stored_name.starts_with(kPrefix) && file.tensors().contains(std::string(kSharedPrefix) + name);
}

/// PEFT writes the parameters of a wrapped layer's own under "base_layer".
std::string without_wrapping(std::string name) {
  constexpr std::string_view wrapped = ".base_layer";
  if (const auto at = name.find(wrapped); at != std::string::npos) name.erase(at, wrapped.size());
  return name;
}

void sort_tensors(const formats::SafetensorsFile& file, const std::string& where, AdapterFiles& to) {
  auto owner = std::make_shared<std::vector<std::shared_ptr<const MappedFile>>>(file.files());
  for (const auto& [stored_name, bytes] : file.tensors()) {
    if (!to.method->published.named_by_layer && belongs_to_method(stored_name, *to.method)) {
      to.tensors[stored_name] = as_tensor(bytes, owner);
      continue;
    }
    if (is_repetition(stored_name, file)) continue;
    if (!stored_name.starts_with(kSharedPrefix))
      throw InvalidArgument({.where = where, .what = "tensor '" + formats::shown(stored_name) + "' has no PEFT name",
                             .expected = "a name that begins with " + std::string(kPrefix)});
    const auto name = without_wrapping(stored_name.starts_with(kPrefix) ? stored_name.substr(kPrefix.size()) : stored_name);
    (belongs_to_method(name, *to.method) ? to.tensors : to.saved_modules)[name] = as_tensor(bytes, owner);
  }
}

/// Puts whole saved parameters in the model's place: biases and norms by name, and full weights of linear layers.
void load_saved_modules(const AdapterState& saved, Places& places, const std::string& where) {
  at::NoGradGuard no_gradient;
  for (const auto& [name, value] : saved) {
    const auto parameter = std::find_if(places.parameters.begin(), places.parameters.end(),
                                        [&name = name](const ParameterSlot& slot) { return slot.name == name; });
    if (parameter != places.parameters.end()) {
      if (parameter->tensor->sizes() != value.sizes())
        throw InvalidArgument({.where = where, .what = "saved '" + name + "' has another shape than the model's"});
      *parameter->tensor = value.to(at::kFloat, false, /*copy=*/true);
      continue;
    }
    auto linears = places.linears;
    if (places.head != nullptr) linears.push_back(places.head);
    const auto linear = std::find_if(linears.begin(), linears.end(),
                                     [&name = name](const LinearSlot* slot) { return slot->name() + ".weight" == name; });
    if (linear == linears.end())
      throw InvalidArgument({.where = where, .what = "saves '" + name + "', which this model does not have"});
    const auto& base = *(*linear)->base();
    if (value.dim() != 2 || value.size(0) != base.out_features() || value.size(1) != base.in_features())
      throw InvalidArgument({.where = where, .what = "saved '" + name + "' has another shape than the model's"});
    const bool keeps_type = value.scalar_type() == at::kFloat || value.scalar_type() == at::kBFloat16;
    (*linear)->replace_base(dense_linear(keeps_type ? value.contiguous() : value.to(at::kFloat)));
  }
}

bool stands_without_prefix(const json& published) {
  return std::any_of(builtin_methods().begin(), builtin_methods().end(), [&](const MethodSpec& method) {
    return !method.published.named_by_layer && method.published.peft_type == published.at("peft_type");
  });
}

std::vector<std::string> known_peft_types() {
  std::vector<std::string> types;
  for (const auto& method : builtin_methods())
    if (!contains(types, method.published.peft_type)) types.push_back(method.published.peft_type);
  return types;
}

}  // namespace

AdapterFiles read_adapter(const std::filesystem::path& folder) {
  const auto config = read_config_json(folder);
  const auto where = (folder / "adapter_config.json").string();
  AdapterFiles files;
  try {
    for (const auto& method : builtin_methods())
      if (auto section = method.from_published(config)) {
        files.method = &method;
        files.config = std::move(*section);
        break;
      }
  } catch (const json::exception& error) {
    throw IoError({.where = where, .what = "has a key of the wrong type", .hint = error.what()});
  }
  if (files.method == nullptr)
    throw InvalidArgument({.where = where, .what = "peft_type " + formats::shown(config["peft_type"].get<std::string>()) + " is not supported",
                           .expected = join(known_peft_types())});
  files.unknown_keys = unknown_keys_of(config, *files.method, where);

  const auto weights = folder / "adapter_model.safetensors";
  if (!std::filesystem::exists(weights))
    throw IoError({.where = folder.string(), .what = "holds no adapter_model.safetensors",
                   .hint = "older .bin adapters can be saved again by PEFT with safe_serialization"});
  const auto file = formats::SafetensorsFile::open(weights);
  sort_tensors(file, weights.string(), files);
  if (const auto found = file.metadata().find(kFingerprintKey); found != file.metadata().end())
    files.base_fingerprint = found->second;
  return files;
}

std::unique_ptr<Attachment> attach_adapter(const AdapterFiles& files, Places& places, const std::string& base_fingerprint,
                                           bool accept_other_base, const std::string& where) {
  const bool differs = !files.base_fingerprint.empty() && files.base_fingerprint != base_fingerprint;
  if (differs && !accept_other_base)
    throw InvalidArgument({.where = where, .what = "this adapter was made for another base model",
                           .expected = "a base with hash " + files.base_fingerprint.substr(0, 12), .got = base_fingerprint.substr(0, 12),
                           .hint = "give the model that it was trained on, or --set base.accept_other=true to use it all the same"});
  if (differs) log_warning("[" + where + "] the adapter was made for another base model; used all the same, as asked");
  auto attachment = files.method->attach(places, files.config, AttachContext(/*start_seed=*/0, nullptr, /*from_file=*/true));
  load_state(*attachment, files.tensors, where);
  load_saved_modules(files.saved_modules, places, where);
  return attachment;
}

void write_adapter(const std::filesystem::path& folder, const Attachment& attachment, const AdapterOrigin& origin) {
  write_adapter(folder, attachment.saved_state(), attachment.published_config(), origin);
}

void write_adapter(const std::filesystem::path& folder, const AdapterState& state, const json& published_config, const AdapterOrigin& origin) {
  std::map<std::string, at::Tensor> tensors;
  const bool bare = stands_without_prefix(published_config);
  for (const auto& [name, tensor] : state) {
    const bool whole_name = bare || name.starts_with(kSharedPrefix);
    tensors[whole_name ? name : std::string(kPrefix) + name] = tensor;
  }
  write_tensors(folder / "adapter_model.safetensors", tensors,
                {{"format", "pt"}, {kFingerprintKey, origin.base_fingerprint}, {"graft.run_id", origin.run_id}});

  auto config = origin.unknown_keys.empty() ? json::object() : json::parse(origin.unknown_keys);
  config.update({{"task_type", "CAUSAL_LM"},
                 {"base_model_name_or_path", origin.base_model},
                 {"revision", nullptr},
                 {"inference_mode", true},
                 {"auto_mapping", nullptr}});
  config.update(published_config);
  write_file_atomically(folder / "adapter_config.json", config.dump(2) + "\n");
}

}  // namespace graft::peft
