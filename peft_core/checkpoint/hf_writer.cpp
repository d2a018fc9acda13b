#include "peft_core/checkpoint/hf_writer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "peft_core/checkpoint/tensor_bytes.h"

namespace graft::peft {
namespace {

using formats::TensorBytes;

const std::vector<std::string> kCompanions = {
    "generation_config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt",
    "USE_POLICY.md"};

struct Shard {
  std::vector<size_t> tensors;
  int64_t bytes = 0;
};

int64_t stored_bytes(const MergedTensor& tensor, at::ScalarType dtype) {
  int64_t elements = 1;
  for (const auto size : tensor.shape) elements *= size;
  return elements * static_cast<int64_t>(c10::elementSize(dtype));
}

std::vector<Shard> in_shards(const std::vector<MergedTensor>& tensors, const HfWeightOptions& options) {
  std::vector<Shard> shards(1);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto bytes = stored_bytes(tensors[i], options.dtype);
    if (!shards.back().tensors.empty() && shards.back().bytes + bytes > options.shard_bytes) shards.emplace_back();
    shards.back().tensors.push_back(i);
    shards.back().bytes += bytes;
  }
  return shards;
}

std::string shard_name(size_t number, size_t count) {
  if (count == 1) return "model.safetensors";
  const auto digits = [](size_t n) { return std::string(5 - std::min<size_t>(5, std::to_string(n).size()), '0') + std::to_string(n); };
  return "model-" + digits(number + 1) + "-of-" + digits(count) + ".safetensors";
}

/// Rounds the tensors of one file as they are written.
class ShardWriter {
 public:
  ShardWriter(const std::vector<MergedTensor>& tensors, const HfWeightOptions& options, std::vector<TensorRounding>& roundings)
      : tensors_(tensors), options_(options), roundings_(roundings) {}

  void write(const std::filesystem::path& file, const Shard& shard) {
    std::map<std::string, TensorBytes> layout;
    const auto type = as_bytes(at::empty({0}, options_.dtype)).dtype;
    for (const auto index : shard.tensors) {
      layout[tensors_[index].name] = {type, tensors_[index].shape, {}};
      index_of_[tensors_[index].name] = index;
    }
    formats::write_safetensors(file, layout, {{"format", "pt"}}, [&](const std::string& name) { return rounded(index_of_.at(name)); });
  }

 private:
  std::span<const std::byte> rounded(size_t index) {
    const auto& tensor = tensors_[index];
    if (options_.before_tensor) options_.before_tensor(tensor.name);
    at::NoGradGuard no_gradient;
    const auto exact = tensor.value();
    const bool wide = options_.dtype == at::kFloat;
    const auto type = options_.dtype == at::kHalf ? StoredType::kF16 : StoredType::kBf16;
    current_ = before_rounding(tensor, exact, wide ? Rounding::kNearest : options_.rounding, type).to(options_.dtype).contiguous();
    if (options_.dtype == at::kHalf) expect_finite(tensor.name, current_, "f16");
    roundings_[index] = rounding_of(tensor.name, exact, current_);
    if (tensor.base) roundings_[index].kept.add(exact, current_, tensor.base());
    return as_bytes(current_).bytes;
  }

  const std::vector<MergedTensor>& tensors_;
  const HfWeightOptions& options_;
  std::vector<TensorRounding>& roundings_;
  std::map<std::string, size_t> index_of_;
  at::Tensor current_;
};

}  // namespace

std::vector<TensorRounding> write_hf_weights(const std::filesystem::path& folder, const std::vector<MergedTensor>& tensors,
                                             const HfWeightOptions& options) {
  const auto shards = in_shards(tensors, options);
  std::vector<TensorRounding> roundings(tensors.size());
  nlohmann::ordered_json map = nlohmann::ordered_json::object();
  int64_t total = 0;
  for (size_t s = 0; s < shards.size(); ++s) {
    const auto name = shard_name(s, shards.size());
    ShardWriter(tensors, options, roundings).write(folder / name, shards[s]);
    for (const auto index : shards[s].tensors) map[tensors[index].name] = name;
    total += shards[s].bytes;
  }
  if (shards.size() > 1)
    write_json_file(folder / "model.safetensors.index.json", {{"metadata", {{"total_size", total}}}, {"weight_map", map}});
  return roundings;
}

void copy_hf_companions(const std::filesystem::path& from, const std::filesystem::path& to) {
  for (const auto& name : kCompanions)
    if (std::filesystem::is_regular_file(from / name)) write_file_atomically(to / name, MappedFile::open(from / name)->text());
}

}  // namespace graft::peft
