#include "peft_core/methods/sequence/prefix_tuning.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/methods/sequence/virtual_tokens.h"

namespace graft::peft {
namespace {

at::Tensor start_of(const std::vector<PrefixSlot*>& slots, const PrefixTuningConfig& config, const AttachContext& context) {
  const auto& slot = *slots.front();
  auto table = at::zeros({config.num_virtual_tokens, static_cast<int64_t>(slots.size()) * 2 * slot.heads() * slot.head_size()}, at::kFloat);
  if (context.restoring || config.init == PrefixStart::kZero) return table;
  auto random = at::make_generator<at::CPUGeneratorImpl>(context.seed);
  return table.normal_(0, 1, random);
}

class PrefixAttachment final : public VirtualTokens {
 public:
  PrefixAttachment(std::vector<PrefixSlot*> slots, const PrefixTuningConfig& config, const AttachContext& context)
      : VirtualTokens(start_of(slots, config, context)), slots_(std::move(slots)), config_(config) {
    fill_slots();
  }

  void move_to(at::Device device) override {
    VirtualTokens::move_to(device);
    fill_slots();
  }

  void detach() override {
    for (auto* slot : slots_) slot->keys = slot->values = at::Tensor();
  }

  nlohmann::json published_config() const override {
    const auto& slot = *slots_.front();
    nlohmann::json config = {{"peft_type", "PREFIX_TUNING"},
                             {"num_virtual_tokens", config_.num_virtual_tokens},
                             {"num_layers", slots_.size()},
                             {"num_attention_heads", slot.heads()},
                             {"token_dim", slot.heads() * slot.head_size()},
                             {"num_transformer_submodules", 1},
                             {"prefix_projection", false},
                             {"init_weights", nullptr}};
    if (config_.init == PrefixStart::kZero) config["init_weights"] = "zero";
    return config;
  }

 private:
  void fill_slots() const {
    const at::AutoGradMode with_gradient(true);  // the slots hold views, which must lead their gradients to the table
    const auto& slot = *slots_.front();
    const auto parts = table().view({config_.num_virtual_tokens, -1, slot.heads(), slot.head_size()});
    for (size_t i = 0; i < slots_.size(); ++i) {
      slots_[i]->keys = parts.select(1, static_cast<int64_t>(2 * i));
      slots_[i]->values = parts.select(1, static_cast<int64_t>(2 * i + 1));
    }
  }

  std::vector<PrefixSlot*> slots_;
  PrefixTuningConfig config_;
};

std::unique_ptr<Attachment> attach(Places& places, const ConfigNode& section, const AttachContext& context) {
  const auto config = read_config<PrefixTuningConfig>(section);
  expect_virtual_tokens(config.num_virtual_tokens);
  if (places.prefixes.empty())
    throw InvalidArgument({.where = "method.name", .what = "prefix_tuning has no place in the attention of this model", .expected = "a language model"});
  if (places.prefixes.front()->count() > 0)
    throw InvalidArgument({.where = "prefix", .what = "already has virtual keys and values", .hint = "detach them first"});
  return std::make_unique<PrefixAttachment>(places.prefixes, config, context);
}

/// A file that was trained with prefix_projection holds what the projection gave in the end, so it is read like any other.
std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "PREFIX_TUNING") return std::nullopt;
  const bool zero = published.contains("init_weights") && published.at("init_weights") == "zero";
  const nlohmann::json method = {{"name", "prefix_tuning"},
                                 {"num_virtual_tokens", published.at("num_virtual_tokens")},
                                 {"init", zero ? "zero" : "random"}};
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec prefix_tuning_method() {
  return {.name = "prefix_tuning",
          .paper = "arXiv:2101.00190",
          .use_when = "every layer shall be steered, and no weight touched",
          .parameters = "2 P layers Hk D for P virtual tokens",
          .traits = {.identity_at_start = false, .mergeable = false, .exact_gradient = true},
          .attach = attach,
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<PrefixTuningConfig>(config), "method"); },
          .published = virtual_tokens_form("PREFIX_TUNING", {"encoder_hidden_size", "prefix_projection", "init_weights"})};
}

}  // namespace graft::peft
