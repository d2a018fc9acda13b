#include "peft_core/checkpoint/gguf_lora.h"

#include <ATen/ATen.h>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/checkpoint/gguf_export.h"
#include "peft_core/checkpoint/gguf_metadata_entries.h"
#include "peft_core/checkpoint/gguf_source.h"
#include "peft_core/checkpoint/merged_weights.h"
#include "peft_core/methods/low_rank/lora.h"

namespace graft::peft {
namespace {

using formats::GgufTensor;
using kernels::GgmlType;

void refuse_other_changes(const CausalLm& model, const AdapterFiles& adapter) {
  const std::string only = "a GGUF adapter holds low-rank updates of matrices only";
  const std::string hint = "export the merged model with --format gguf";
  if (adapter.method->name != "lora")
    throw InvalidArgument({.where = "gguf-lora", .what = only, .got = "method " + adapter.method->name, .hint = hint});
  if (!adapter.saved_modules.empty())
    throw InvalidArgument({.where = "gguf-lora", .what = only, .got = "a saved '" + adapter.saved_modules.begin()->first + "'", .hint = hint});
  if (model.config().tied_head && !head_stays_tied(model))
    throw InvalidArgument({.where = "gguf-lora",
                           .what = "the adapter changes lm_head, which this model's files do not hold apart from the embedding",
                           .hint = hint});
}

at::Tensor parameter_of(const LinearSlot& slot, const std::string& name) {
  for (const auto& [own_name, tensor] : slot.adapter()->parameters())
    if (own_name == name) return tensor.detach();
  throw InvalidArgument({.where = slot.name(), .what = "has no " + name, .expected = "a LoRA adapter"});
}

/// The alpha that the file states. llama.cpp takes 0 for "no scaling at all", so another number has to stand for it.
double stated_alpha(const LoraConfig& config) { return config.alpha == 0 ? 1 : config.alpha; }

struct AdapterTensors {
  std::vector<GgufTensor> layout;
  std::vector<std::vector<std::byte>> bytes;

  void add(const std::string& name, const at::Tensor& tensor, GgmlType wanted) {
    const auto type = gguf_type_for_rows(wanted, tensor.size(-1));
    bytes.push_back(gguf_bytes(tensor, type));
    layout.push_back({name, type, tensor.sizes().vec(), {}});
  }
};

AdapterTensors tensors_of(const CausalLm& model, const LoraConfig& config, GgmlType type) {
  at::NoGradGuard no_gradient;
  AdapterTensors tensors;
  auto slots = model.places().linears;
  slots.push_back(model.places().head);
  for (const auto* slot : slots) {
    if (slot->adapter() == nullptr) continue;
    const auto name = slot->name() + ".weight";
    const auto a = parameter_of(*slot, "lora_A.weight"), b = parameter_of(*slot, "lora_B.weight");
    const auto rank = a.size(0);
    const double factor = lora_scale(config, slot->name(), rank) * static_cast<double>(rank) / stated_alpha(config);
    tensors.add(gguf_tensor_name(name) + ".lora_a", a, type);
    const auto scaled = factor == 1 ? b : b * factor;
    tensors.add(gguf_tensor_name(name) + ".lora_b", in_gguf_row_order(name, scaled, model.config()), type);
    if (type == GgmlType::kF16) expect_finite(name, scaled.to(at::kHalf), "f16"), expect_finite(name, a.to(at::kHalf), "f16");
  }
  return tensors;
}

}  // namespace

void write_gguf_lora(const std::filesystem::path& file, const CausalLm& model, const AdapterFiles& adapter, GgmlType type,
                     const std::string& name) {
  refuse_other_changes(model, adapter);
  const auto config = read_config<LoraConfig>(adapter.config);
  const std::vector<formats::GgufEntry> entries = {
      gguf_text("general.architecture", gguf_architecture(model.config())), gguf_text("general.type", "adapter"),
      gguf_text("general.name", name), gguf_text("adapter.type", "lora"), gguf_number("adapter.lora.alpha", stated_alpha(config))};
  const auto tensors = tensors_of(model, config, type);
  formats::write_gguf(file, entries, tensors.layout, [&](size_t index) { return std::span<const std::byte>(tensors.bytes[index]); });
}

}  // namespace graft::peft
