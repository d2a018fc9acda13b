#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <memory>
#include <string>

#include "peft_core/methods/method.h"

namespace graft::peft {

/// Files of an adapter in Hugging Face PEFT's layout: adapter_config.json and adapter_model.safetensors.
struct AdapterFiles {
  const MethodSpec* method = nullptr;
  ConfigNode config;                   ///< the `method` section that the published config stands for
  AdapterState tensors;                ///< names without PEFT's prefix
  AdapterState saved_modules;          ///< whole parameters of `modules_to_save` and biases, by the model's own names
  std::string base_fingerprint;        ///< of the model it was trained on; empty if the file does not say
  std::string unknown_keys;            ///< JSON object of the config's keys that we do not know, kept when saved again
};

/// Reads a folder that holds an adapter (a run folder is one). Unknown keys are kept and warned about.
/// Throws IoError or InvalidArgument: missing files, a peft_type that is not supported (naming the supported), unsupported variants.
AdapterFiles read_adapter(const std::filesystem::path& folder);

/// Attaches an adapter that was read: refuses one made for another base (fingerprints differ) unless `accept_other_base`.
std::unique_ptr<Attachment> attach_adapter(const AdapterFiles& files, Places& places, const std::string& base_fingerprint,
                                           bool accept_other_base, const std::string& where);

struct AdapterOrigin {
  std::string base_model;         ///< path or name of the base
  std::string base_fingerprint;
  std::string run_id;
  std::string unknown_keys;       ///< from the adapter that the run began with
};

/// Writes both files, each atomically, the weights first.
void write_adapter(const std::filesystem::path& folder, const Attachment& attachment, const AdapterOrigin& origin);
/// The same for tensors and a config (an adapter_config.json without the keys that every method shares) of one's own.
void write_adapter(const std::filesystem::path& folder, const AdapterState& state, const nlohmann::json& published_config, const AdapterOrigin& origin);

}  // namespace graft::peft
