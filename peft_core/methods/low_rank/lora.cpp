#include "peft_core/methods/low_rank/lora.h"

#include "peft_core/base/config.h"
#include "peft_core/methods/low_rank/low_rank_op.h"

namespace graft::peft {
namespace {

class LoraAdapter final : public Adapter {
 public:
  explicit LoraAdapter(const LoraLayer& layer) : factors_(layer), scale_(layer.scale), dropout_(layer.dropout) {}

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    const double dropout = call.context.training ? dropout_ : 0.0;
    return low_rank_linear(x, factors_.a, factors_.b, scale_, call.base, call.bias, dropout, call.context.dropout_seed ^ call.slot_seed);
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override {
    return base.weight().addmm_(factors_.b.detach(), factors_.a.detach(), 1, scale_);
  }

  NamedTensors parameters() const override { return {{"lora_A.weight", factors_.a}, {"lora_B.weight", factors_.b}}; }

 private:
  LoraFactors factors_;
  double scale_, dropout_;
};

}  // namespace

MethodSpec lora_method() {
  return {.name = "lora",
          .paper = "arXiv:2106.09685",
          .use_when = "the default: strong, small, merges into the weights without a trace",
          .parameters = "r (in + out) per layer",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = [](Places& places, const ConfigNode& config, const AttachContext& context) -> std::unique_ptr<Attachment> {
            return attach_lora_family(places, read_config<LoraConfig>(config), context.seed,
                                      [](const LoraLayer& layer) { return std::make_shared<LoraAdapter>(layer); });
          },
          .from_published = [](const nlohmann::json& published) { return lora_from_published(published, "lora"); },
          .resolved = [](const ConfigNode& config) { return write_config(read_config<LoraConfig>(config), "method"); },
          .published = lora_published_form()};
}

}  // namespace graft::peft
