#include "peft_core/methods/structured/loha.h"

#include <ATen/ATen.h>

#include "kernels/ops/dense_products.h"
#include "peft_core/base/config.h"
#include "peft_core/methods/low_rank/low_rank_op.h"
#include "peft_core/methods/structured/lycoris_family.h"
#include "peft_core/methods/start_values.h"

namespace graft::peft {
namespace {

struct LohaConfig : LycorisConfig {
  LohaConfig() { name = "loha"; }
};

class LohaAdapter final : public Adapter {
 public:
  LohaAdapter(const LycorisLayer& layer, UpdateDropout dropout)
      : out_(layer.base.out_features()), in_(layer.base.in_features()), rank_(layer.rank), scale_(layer.scale), dropout_(dropout),
        a1_(uniform_leaf({out_, rank_}, layer.random)), b1_(uniform_leaf({rank_, in_}, layer.random)),
        a2_(uniform_leaf({out_, rank_}, layer.random)), b2_(zero_leaf({rank_, in_})) {}

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    const auto kept = dropout_.draw(out_, call, x.device());
    if (thin_factors_are_cheaper(x.size(0))) {
      const auto down = (b1_.unsqueeze(1) * b2_.unsqueeze(0)).flatten(0, 1);  // (r², in)
      const auto up = (a1_.unsqueeze(2) * a2_.unsqueeze(1)).flatten(1);       // (out, r²)
      return low_rank_linear(x, down, kept.defined() ? up * kept.unsqueeze(1) : up, scale_, call.base, call.bias);
    }
    const auto dense = kept.defined() ? update() * kept.unsqueeze(1) : update();
    return frozen_linear(x, call.base, call.bias) + ops::mm(x, dense.to(x.scalar_type()).t());
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override { return base.weight().add_(update().detach()); }

  NamedTensors parameters() const override { return {{"hada_w1_a", a1_}, {"hada_w1_b", b1_}, {"hada_w2_a", a2_}, {"hada_w2_b", b2_}}; }

 private:
  at::Tensor update() const { return at::mm(a1_, b1_) * at::mm(a2_ * scale_, b2_); }

  /// Making the factors and multiplying `rows` with them, against two products of rank r for the dense update and one with it.
  bool thin_factors_are_cheaper(int64_t rows) const {
    return (rows + 1) * rank_ * rank_ * (in_ + out_) < (rows + 2 * rank_) * in_ * out_;
  }

  int64_t out_, in_, rank_;
  double scale_;
  UpdateDropout dropout_;
  at::Tensor a1_, b1_, a2_, b2_;
};

std::unique_ptr<Attachment> attach(Places& places, const ConfigNode& node, const AttachContext& context) {
  const auto config = read_config<LohaConfig>(node);
  const UpdateDropout dropout{.outputs = config.rank_dropout, .layer = config.module_dropout};
  return attach_lycoris(places, config, context.seed,
                        [&](const LycorisLayer& layer) { return std::make_shared<LohaAdapter>(layer, dropout); },
                        {{"peft_type", "LOHA"}, {"init_weights", true}});
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  const auto section = lycoris_from_published(published, "LOHA", "loha");
  if (!section) return std::nullopt;
  return ConfigNode::parse(section->dump(), "adapter_config.json");
}

}  // namespace

MethodSpec loha_method() {
  return {.name = "loha",
          .paper = "arXiv:2108.06098",
          .use_when = "the update should have a high rank at the parameters of a low one",
          .parameters = "2 r (in + out) per layer",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = attach,
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<LohaConfig>(config), "method"); },
          .published = {.peft_type = "LOHA", .keys = lycoris_published_keys(), .tensor_marks = {".hada_"}}};
}

}  // namespace graft::peft
