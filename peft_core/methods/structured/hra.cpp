#include "peft_core/methods/structured/hra.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "peft_core/base/config.h"
#include "peft_core/base/log.h"
#include "peft_core/methods/layer_adapters.h"
#include "peft_core/methods/low_rank/low_rank_op.h"
#include "peft_core/methods/published_form.h"
#include "peft_core/methods/start_values.h"

namespace graft::peft {
namespace {

struct HraConfig {
  std::string name = "hra";
  int64_t rank = 8;
  bool apply_gs = false;
  LayerChoice choice;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("rank", rank, "reflections r of a layer, 1 <= r <= in; an even number, so that the start can be the model's own");
    v("apply_gs", apply_gs, "makes the reflections orthogonal to each other (Gram-Schmidt); then the start is not the model's own");
    choice.visit(v);
  }
};

class HraAdapter final : public Adapter {
 public:
  HraAdapter(int64_t in, const HraConfig& config, at::Generator& random) : orthogonal_(config.apply_gs) {
    // With apply_GS the second column of an equal pair would be made of rounding errors, so there is no pairing then.
    if (config.rank % 2 != 0 || orthogonal_) {
      u_ = uniform_leaf({in, config.rank}, random);
    } else {
      u_ = uniform_leaf({in, config.rank / 2}, random).detach().repeat_interleave(2, 1).requires_grad_();
    }
  }

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    const auto reflections = chain();
    const auto weight_left = frozen_linear(reflections.left.t().to(x.scalar_type()).contiguous(), call.base, {}).to(at::kFloat).t();  // W L, (out, r)
    return low_rank_linear(x, reflections.right.t(), weight_left, 1.0, call.base, call.bias);
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override {
    const auto reflections = chain();
    auto weight = base.weight();
    return weight.addmm(at::mm(weight, reflections.left), reflections.right.t());
  }

  NamedTensors parameters() const override { return {{"hra_u", u_}}; }

 private:
  ReflectionChain chain() const { return orthogonal_ ? orthogonal_reflections(u_) : reflection_chain(u_); }

  bool orthogonal_;
  at::Tensor u_;  // (in, r)
};

nlohmann::json published_form(const HraConfig& config) {
  return {{"peft_type", "HRA"},   {"r", config.rank}, {"apply_GS", config.apply_gs},
          {"init_weights", true}, {"bias", "none"},   {"modules_to_save", nullptr}};
}

std::unique_ptr<Attachment> attach(Places& places, const ConfigNode& node, const AttachContext& context) {
  const auto config = read_config<HraConfig>(node);
  if (!context.restoring && (config.rank % 2 != 0 || config.apply_gs))
    log_warning(std::string("[method] hra ") + (config.apply_gs ? "with apply_gs" : "of an odd rank") + " does not start at the model's own outputs");
  auto random = at::make_generator<at::CPUGeneratorImpl>(context.seed);
  const auto make = [&](const LinearSlot& slot) {
    const auto in = slot.base()->in_features();
    expect_rank(config.rank, slot, in, "in");
    return std::make_shared<HraAdapter>(in, config, random);
  };
  return std::make_unique<PublishedLayerAdapters>(places, config.choice, make, published_form(config));
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  auto section = published_section(published, "HRA", "hra");
  if (!section) return std::nullopt;
  read_published(published, "r", *section, "rank", 8);
  read_published(published, "apply_GS", *section, "apply_gs", false);
  return ConfigNode::parse(section->dump(), "adapter_config.json");
}

}  // namespace

// Two reflections in a row, with d = v − u, are H_u H_v = I + u pᵀ − 2 d vᵀ, p = (2 − 2 |d|²) d − 2 |d|² u: with u = v all of it is exactly 0,
// where I − 2 u uᵀ − 2 v vᵀ + 4 (u·v) u vᵀ would leave rounding errors. A chain of k such factors I + L_i S_iᵀ is I + L S'ᵀ with
// S'ᵀ = (I − G)⁻¹ Sᵀ, G = S_iᵀ L_j for i < j and 0 elsewhere: the factor that x meets first is the last one.
ReflectionChain reflection_chain(const at::Tensor& u) {
  const auto r = u.size(1), pairs = r / 2;
  const auto unit = u / u.norm(2, {0}, /*keepdim=*/true);
  const auto first = unit.narrow(1, 0, 2 * pairs).slice(1, 0, 2 * pairs, 2), second = unit.narrow(1, 0, 2 * pairs).slice(1, 1, 2 * pairs, 2);
  const auto d = second - first, squares = d.square().sum({0}, /*keepdim=*/true);
  std::vector<at::Tensor> left = {first, d * -2}, right = {d * (2 - 2 * squares) - first * (2 * squares), second};
  auto factor = at::cat({at::arange(pairs), at::arange(pairs)});  // which factor a column belongs to
  if (r % 2 != 0) {
    left.push_back(unit.narrow(1, r - 1, 1) * -2), right.push_back(unit.narrow(1, r - 1, 1));
    factor = at::cat({factor, at::full({1}, pairs, at::kLong)});
  }
  const auto l = at::cat(left, 1), s = at::cat(right, 1);
  const auto earlier = (factor.unsqueeze(1) < factor.unsqueeze(0)).to(s.options().requires_grad(false));
  const auto system = at::eye(r, s.options().requires_grad(false)) - at::mm(s.t(), l) * earlier;
  return {l, at::linalg_solve(system, s.t()).t()};
}

ReflectionChain orthogonal_reflections(const at::Tensor& u) {
  const auto v = std::get<0>(at::linalg_qr(u, "reduced"));
  return {v * -2, v};
}

MethodSpec hra_method() {
  return {.name = "hra",
          .paper = "arXiv:2405.17484",
          .use_when = "between lora and oft: a low rank that is also orthogonal, so lengths and angles of a layer's weight rows are kept",
          .parameters = "r in per layer",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = attach,
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<HraConfig>(config), "method"); },
          .published = {.peft_type = "HRA", .keys = {"r", "apply_GS", "init_weights", "bias"}, .tensor_marks = {".hra_"}}};
}

}  // namespace graft::peft
