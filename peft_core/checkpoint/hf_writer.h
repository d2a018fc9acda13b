#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "peft_core/checkpoint/merged_weights.h"
#include "peft_core/checkpoint/model_files.h"

namespace graft::peft {

struct HfWeightOptions {
  at::ScalarType dtype = at::kFloat;             ///< fp32, fp16 or bf16
  int64_t shard_bytes = int64_t{4} << 30;        ///< a file is begun anew before it would grow beyond this
  std::function<void(const std::string& name)> before_tensor;  ///< progress; may throw to stop
  Rounding rounding = Rounding::kNearest;
};

/// Writes `model.safetensors`, or shards with `model.safetensors.index.json`, each tensor rounded once. One tensor stands in memory at a
/// time. Returns what the rounding did, in the order of `tensors`.
/// Throws   InvalidArgument for values that fp16 cannot hold; IoError if the disk refuses.
std::vector<TensorRounding> write_hf_weights(const std::filesystem::path& folder, const std::vector<MergedTensor>& tensors,
                                             const HfWeightOptions& options);

/// Roles of tokens that config.json and generation_config.json repeat.
struct HfTokenRoles {
  std::optional<int64_t> bos, eos, pad;
};

/// Sets bos_token_id and its siblings for the roles that there are.
void add_token_roles(nlohmann::ordered_json& json, const HfTokenRoles& roles);

/// The config.json of the written folder: a Hugging Face base's own with unknown keys kept, else made from the model's shape.
/// Throws   InvalidArgument where Hugging Face has no words for the shape (free frequency factors).
nlohmann::ordered_json hf_config(const ModelFiles& base, at::ScalarType dtype, bool tied_head, const HfTokenRoles& roles);

/// Copies tokenizer, generation settings and licence of a Hugging Face folder, where they are there, each onto disk.
void copy_hf_companions(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace graft::peft
