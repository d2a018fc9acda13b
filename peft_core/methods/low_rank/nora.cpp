#include "peft_core/methods/low_rank/nora.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/methods/dropout.h"
#include "peft_core/methods/low_rank/thin_ops.h"
#include "peft_core/methods/published_form.h"

namespace graft::peft {
namespace {

enum class Activation { kSilu, kRelu, kIdentity };
EnumNames<Activation> config_names(Activation) {
  return {{"silu", Activation::kSilu}, {"relu", Activation::kRelu}, {"identity", Activation::kIdentity}};
}

struct NoraConfig {
  std::string name = "nora";
  int64_t rank = 16;
  double scale = 1.0;
  double dropout = 0.3;
  Activation activation = Activation::kSilu;
  bool learn_mix = false;
  LayerChoice choice;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("rank", rank, "width r of the bottleneck; 1 <= r <= min(in, out) of every layer");
    v("scale", scale, "what the branch is multiplied with; the paper has 1, whatever the rank");
    v("dropout", dropout, "probability of dropping a unit of the bottleneck, after its activation, while training, in [0, 1)");
    v("activation", activation, "silu, relu or identity (plain LoRA, for comparison)");
    v("learn_mix", learn_mix, "one more number a layer that mixes the bottleneck before and after its activation, 0 at the start");
    choice.visit(v);
  }
};

at::Tensor activated(const at::Tensor& z, Activation activation) {
  switch (activation) {
    case Activation::kSilu: return at::silu(z);
    case Activation::kRelu: return at::relu(z);
    case Activation::kIdentity: return z;
  }
  GRAFT_ASSERT(false);
}

class NoraAdapter final : public Adapter {
 public:
  NoraAdapter(const FrozenLinear& base, const NoraConfig& config, at::Generator& random) : config_(config) {
    const double deviation = std::sqrt(2.0 / static_cast<double>(base.in_features()));
    a_ = at::empty({config.rank, base.in_features()}, at::kFloat).normal_(0, deviation, random).requires_grad_();
    b_ = at::zeros({base.out_features(), config.rank}, at::kFloat).requires_grad_();
    if (config.learn_mix) mix_ = at::zeros({1}, at::kFloat).requires_grad_();
  }

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    const double dropout = call.context.training ? config_.dropout : 0.0;
    const auto latent = with_dropout(bent(thin_product(x, a_)), dropout, call.context.dropout_seed ^ call.slot_seed);
    return latent_linear(x, latent, b_, config_.scale, call.base, call.bias);
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override {
    if (config_.activation != Activation::kIdentity)
      throw InvalidArgument({.where = "nora", .what = "cannot be merged: its branch is not linear in the layer's input",
                             .hint = "use the adapter beside its base; with method.activation=identity it merges"});
    return base.weight().addmm_(b_.detach(), a_.detach(), 1, config_.scale);
  }

  NamedTensors parameters() const override {
    NamedTensors all = {{"nora_A.weight", a_}, {"nora_B.weight", b_}};
    if (mix_.defined()) all.emplace_back("nora_mix", mix_);
    return all;
  }

 private:
  at::Tensor bent(const at::Tensor& z) const {
    if (!mix_.defined()) return activated(z, config_.activation);
    return (z + mix_ * (activated(z, config_.activation) - z)).to(z.scalar_type());
  }

  NoraConfig config_;
  at::Tensor a_, b_, mix_;
};

nlohmann::json published_form(const NoraConfig& config) {
  return {{"peft_type", "NORA"},        {"r", config.rank},
          {"scale", config.scale},      {"dropout", config.dropout},
          {"learn_mix", config.learn_mix}, {"activation", enum_name(config.activation)}};
}

std::unique_ptr<Attachment> attach(Places& places, const NoraConfig& config, uint64_t seed) {
  expect_dropout(config.dropout);
  if (config.learn_mix && config.activation == Activation::kIdentity)
    throw InvalidArgument({.where = "method.learn_mix", .what = "has nothing to mix: the activation is the identity"});
  auto random = at::make_generator<at::CPUGeneratorImpl>(seed);
  const auto make = [&](const LinearSlot& slot) {
    expect_rank(config.rank, slot);
    return std::make_shared<NoraAdapter>(*slot.base(), config, random);
  };
  return std::make_unique<PublishedLayerAdapters>(places, config.choice, make, published_form(config));
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "NORA") return std::nullopt;
  nlohmann::json method = {{"name", "nora"}, {"rank", published.at("r")}};
  for (const auto* key : {"scale", "dropout", "activation", "learn_mix"})
    if (const auto found = published.find(key); found != published.end()) method[key] = *found;
  read_published_targets(published, method);
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec nora_method() {
  return {.name = "nora",
          .paper = "arXiv:2602.22911",
          .use_when = "more rank gives lora nothing more, and the adapter may stay beside its base: it never merges",
          .parameters = "r (in + out) per layer",
          .traits = {.identity_at_start = true, .mergeable = false, .exact_gradient = true},
          .attach = [](Places& places, const ConfigNode& config, const AttachContext& context) -> std::unique_ptr<Attachment> {
            return attach(places, read_config<NoraConfig>(config), context.seed);
          },
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<NoraConfig>(config), "method"); },
          .published = {.peft_type = "NORA", .keys = {"r", "scale", "dropout", "activation", "learn_mix"}, .tensor_marks = {".nora_"}}};
}

}  // namespace graft::peft
