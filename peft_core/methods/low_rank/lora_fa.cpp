#include "peft_core/methods/low_rank/lora_fa.h"

#include <ATen/ATen.h>

#include "peft_core/methods/low_rank/lora_adapter.h"
#include "peft_core/methods/low_rank/method_section.h"

namespace graft::peft {
namespace {

constexpr double kDelta = 1e-8;

struct LoraFaConfig {
  LoraConfig lora{.name = "lora_fa", .choice = {}, .rank_pattern = {}, .alpha_pattern = {}};
  bool project_gradient = true;

  template <class Visitor>
  void visit(Visitor& v) {
    lora.visit(v);
    v("project_gradient", project_gradient, "give the optimizer B's gradient times the inverse of A A^T, over the scale's square");
  }
};

/// (A Aᵀ + δ I)⁻¹ / s², (r, r), made once for each state of A: a file may bring another.
class GradientProjection {
 public:
  GradientProjection(at::Tensor a, double scale) : a_(std::move(a)), scale_(scale) {}

  at::Tensor operator()(const at::Tensor& gradient) {
    if (!inverse_.defined() || version_ != a_._version()) make();
    return at::mm(gradient, inverse_);
  }

 private:
  void make() {
    const at::NoGradGuard no_gradient;
    const auto a = a_.to(at::kDouble);
    const auto gram = at::mm(a, a.t()) + kDelta * at::eye(a.size(0), a.options());
    inverse_ = (at::linalg_pinv(gram, 1e-15, /*hermitian=*/true) / (scale_ * scale_)).to(at::kFloat);
    version_ = a_._version();
  }

  at::Tensor a_;
  double scale_;
  at::Tensor inverse_;
  uint32_t version_ = 0;
};

class LoraFaAdapter final : public LoraAdapter {
 public:
  LoraFaAdapter(const LoraLayer& layer, bool project_gradient) : LoraAdapter(frozen_a(LoraFactors(layer)), layer) {
    if (!project_gradient) return;
    factors().b.register_hook([projection = std::make_shared<GradientProjection>(factors().a, layer.scale)](const at::Tensor& gradient) {
      return (*projection)(gradient);
    });
  }

  NamedTensors parameters() const override { return {{"lora_B.weight", factors().b}}; }
  NamedTensors fixed() const override { return {{"lora_A.weight", factors().a}}; }

 private:
  static LoraFactors frozen_a(LoraFactors factors) {
    factors.a.requires_grad_(false);
    return factors;
  }
};

}  // namespace

MethodSpec lora_fa_method() {
  return {.name = "lora_fa",
          .paper = "arXiv:2308.03303",
          .use_when = "memory for activations is short: layers need not keep their inputs",
          .parameters = "r out per layer",
          .traits = {.exact_gradient = false},
          .attach = [](Places& places, const ConfigNode& section, const AttachContext& context) -> std::unique_ptr<Attachment> {
            const auto config = read_config<LoraFaConfig>(section);
            const auto make = [project = config.project_gradient](const LoraLayer& layer) { return std::make_shared<LoraFaAdapter>(layer, project); };
            const auto describe = [own = JsonSection::of(config)](nlohmann::json& published) { published[kOwnSection] = own; };
            return attach_lora_family(places, config.lora, context.seed, {.make = make, .describe = describe});
          },
          .from_published = [](const nlohmann::json& published) { return lora_from_published(published, "lora_fa"); },
          .resolved = [](const ConfigNode& section) { return write_config(read_config<LoraFaConfig>(section), "method"); },
          .published = lora_published_form()};
}

}  // namespace graft::peft
