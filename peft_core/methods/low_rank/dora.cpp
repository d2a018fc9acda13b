#include "peft_core/methods/low_rank/dora.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "peft_core/base/config.h"
#include "peft_core/memory/move_in_place.h"
#include "peft_core/methods/low_rank/low_rank_op.h"

namespace graft::peft {
namespace {

class DoraAdapter final : public Adapter {
 public:
  explicit DoraAdapter(const LoraLayer& layer)
      : factors_(layer), squares_(layer.base.weight().square_().sum({1})), magnitude_(squares_.sqrt().requires_grad_()), scale_(layer.scale),
        dropout_(layer.dropout) {}

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    const double dropout = call.context.training ? dropout_ : 0.0;
    const auto y = low_rank_linear(x, factors_.a, factors_.b, scale_, call.base, call.bias, dropout, call.context.dropout_seed ^ call.slot_seed);
    const auto c = magnitude_ / lengths(*call.base, x.scalar_type());
    auto scaled = y * c;
    if (call.bias.defined()) scaled = scaled + (1 - c) * call.bias;  // the bias is inside y, and is not scaled
    return scaled.to(x.scalar_type());
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override {
    const auto updated = base.weight().addmm_(factors_.b.detach(), factors_.a.detach(), 1, scale_);
    return updated * (magnitude_.detach() / updated.norm(2, {1})).unsqueeze(1);
  }

  void move_to(at::Device device) const override {
    Adapter::move_to(device);
    move_in_place(squares_, device);
  }

  NamedTensors parameters() const override {
    return {{"lora_A.weight", factors_.a}, {"lora_B.weight", factors_.b}, {"lora_magnitude_vector", magnitude_}};
  }

 private:
  /// ‖w + s b A‖ of every row: ‖w‖² + 2 s b (A wᵀ) + s² b (A Aᵀ) bᵀ. No gradient.
  at::Tensor lengths(const FrozenLinear& base, at::ScalarType compute) const {
    const at::NoGradGuard no_gradient;
    const auto &a = factors_.a, &b = factors_.b;
    const auto crossed = base.project(a.detach().to(compute)).to(at::kFloat).t();  // W Aᵀ, (out, r)
    const auto inner = at::mm(b, at::mm(a, a.t()));
    return (squares_ + (b * (2 * scale_ * crossed + scale_ * scale_ * inner)).sum({1})).clamp_min(0).sqrt();
  }

  LoraFactors factors_;
  at::Tensor squares_;    // ‖w‖² of W's rows, (out)
  at::Tensor magnitude_;  // m, (out)
  double scale_, dropout_;
};

}  // namespace

MethodSpec dora_method() {
  return {.name = "dora",
          .paper = "arXiv:2402.09353",
          .use_when = "a low rank has to come near full fine-tuning, and a third more time is no matter",
          .parameters = "r (in + out) + out per layer",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = false},
          .attach = [](Places& places, const ConfigNode& config, const AttachContext& context) -> std::unique_ptr<Attachment> {
            return attach_lora_family(places, read_config<LoraConfig>(config), context.seed,
                                      {.make = [](const LoraLayer& layer) { return std::make_shared<DoraAdapter>(layer); },
                                       .describe = [](nlohmann::json& published) { published["use_dora"] = true; }});
          },
          .from_published = [](const nlohmann::json& published) { return lora_from_published(published, "dora"); },
          .resolved = [](const ConfigNode& config) { return write_config(read_config<LoraConfig>(config), "method"); },
          .published = lora_published_form()};
}

}  // namespace graft::peft
