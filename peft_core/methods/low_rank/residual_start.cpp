#include "peft_core/methods/low_rank/residual_start.h"

#include <ATen/ATen.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "peft_core/memory/move_in_place.h"
#include "peft_core/methods/low_rank/low_rank_op.h"

namespace graft::peft {
namespace {

at::Tensor first_half(const at::Tensor& whole) { return whole.narrow(0, 0, whole.size(0) / 2); }
at::Tensor second_half(const at::Tensor& whole) { return whole.narrow(0, whole.size(0) / 2, whole.size(0) / 2); }

/// The plain LoRA of twice the rank and the same scale.
void describe_doubled(const LoraConfig& config, const nlohmann::json& own_section, nlohmann::json& published) {
  const double alphas = config.use_rslora ? std::sqrt(2.0) : 2.0;
  published["r"] = 2 * config.rank;
  published["lora_alpha"] = alphas * config.alpha;
  for (auto& rank : published["rank_pattern"]) rank = 2 * rank.get<int64_t>();
  for (auto& alpha : published["alpha_pattern"]) alpha = alphas * alpha.get<double>();
  published[kOwnSection] = own_section;
}

StartPair nothing(const LoraLayer& layer) {
  return {at::zeros({layer.rank, layer.base.in_features()}, at::kFloat), at::zeros({layer.base.out_features(), layer.rank}, at::kFloat)};
}

}  // namespace

ResidualAdapter::ResidualAdapter(const StartPair& start, const LoraLayer& layer, SavedAs saved_as)
    : whole_a_(at::cat({start.a, start.a}, 0).to(at::kFloat).contiguous()),
      whole_b_transposed_(at::cat({start.b.t(), -start.b.t()}, 0).to(at::kFloat).contiguous()),
      a_(first_half(whole_a_).detach().requires_grad_()),
      b_transposed_(first_half(whole_b_transposed_).detach().requires_grad_()),
      scale_(layer.scale),
      dropout_(layer.dropout),
      saved_as_(saved_as) {}

StartPair ResidualAdapter::update() const {
  const auto minus_b0 = second_half(whole_b_transposed_).detach();
  const auto b = at::cat({b_transposed_ + minus_b0, -minus_b0}, 0);
  return {at::cat({a_, a_ - second_half(whole_a_).detach()}, 0), b.t()};
}

at::Tensor ResidualAdapter::forward(const at::Tensor& x, const SlotCall& call) const {
  const auto [a, b] = update();
  const double dropout = call.context.training ? dropout_ : 0.0;
  return low_rank_linear(x, a, b, scale_, call.base, call.bias, dropout, call.context.dropout_seed ^ call.slot_seed);
}

at::Tensor ResidualAdapter::merged_weight(const FrozenLinear& base) const {
  const at::NoGradGuard no_gradient;
  const auto [a, b] = update();
  return base.weight().addmm_(b, a, 1, scale_);
}

NamedTensors ResidualAdapter::fixed() const {
  if (saved_as_ == SavedAs::kStart) return {{"lora_B.weight", b_transposed_.t()}};
  return {{"lora_A.weight", whole_a_}, {"lora_B.weight", whole_b_transposed_.t()}};
}

void ResidualAdapter::move_to(at::Device device) const {
  for (const auto& [leaf, whole] : {std::pair{a_, whole_a_}, std::pair{b_transposed_, whole_b_transposed_}}) {
    move_in_place(whole, device);
    become_view(leaf, first_half(whole));
  }
}

std::unique_ptr<Attachment> attach_residual(Places& places, const LoraConfig& config, const AttachContext& context, const MakeStart& make,
                                            const nlohmann::json& own_section, SavedAs saved_as, const std::string& start_name) {
  const bool read_from_file = context.restoring && saved_as == SavedAs::kLora;
  LoraVariant variant;
  variant.make = [&](const LoraLayer& layer) {
    return std::make_shared<ResidualAdapter>(read_from_file ? nothing(layer) : make(layer), layer, saved_as);
  };
  variant.describe = [=](nlohmann::json& published) {
    if (saved_as == SavedAs::kLora) return describe_doubled(config, own_section, published);
    published["init_lora_weights"] = start_name;
  };
  return attach_lora_family(places, config, context.seed, variant);
}

}  // namespace graft::peft
