#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "peft_core/checkpoint/adapter_files.h"
#include "peft_core/operations/adapter_mixture.h"

namespace graft::peft {

/// One adapter of a mixture, by its folder.
struct MixturePart {
  std::string name;
  std::filesystem::path folder;
  double weight = 1;  ///< in passes without a choice
};

/// A mixture is a folder with `mixture.json` and a folder for each adapter, which is a plain one that PEFT loads:
///   {"format": "graft-mixture-1", "adapters": [{"name": "wheat", "folder": "wheat", "weight": 0.5}, ...]}
/// Folders are names inside the mixture's own.
constexpr const char* kMixtureFile = "mixture.json";
bool is_mixture(const std::filesystem::path& folder);

/// Throws IoError or InvalidArgument that names the file: not readable, another format, names or folders that cannot be, none at all.
std::vector<MixturePart> read_mixture(const std::filesystem::path& folder);

/// Attaches all parts, as attach_adapter() does each. Throws what that throws and what AdapterMixture::add() throws.
std::unique_ptr<AdapterMixture> attach_mixture(const std::vector<MixturePart>& parts, Places& places, const std::string& base_fingerprint,
                                               bool accept_other_base);

/// Writes each adapter into its folder and mixture.json last. `folder` has to exist.
void write_mixture(const std::filesystem::path& folder, const AdapterMixture& mixture, const AdapterOrigin& origin);
/// The same from adapters on disk: their two files are copied as they are.
void write_mixture(const std::filesystem::path& folder, const std::vector<MixturePart>& parts);

}  // namespace graft::peft
