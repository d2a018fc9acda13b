#include "peft_core/methods/low_rank/output_lora.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "kernels/ops/dense_products.h"
#include "peft_core/base/config.h"
#include "peft_core/methods/dropout.h"
#include "peft_core/methods/layer_adapters.h"
#include "peft_core/methods/low_rank/lora_adapter.h"
#include "peft_core/methods/low_rank/thin_ops.h"
#include "peft_core/methods/published_form.h"

namespace graft::peft {
namespace {

constexpr double kStartDeviation = 0.01;

struct OutputLoraConfig {
  std::string name = "output_lora";
  int64_t rank = 16;
  double alpha = 32;
  double dropout = 0.1;
  std::vector<std::string> after = {"out_proj", "o_proj", "attention.output.dense"};
  LayerChoice choice;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("rank", rank, "rank r of the update, 1 <= r <= min(in, out)");
    v("alpha", alpha, "scale s = alpha / rank");
    v("dropout", dropout, "probability with which the branch's input is dropped while training");
    v("after", after, "endings of the layers whose update acts on their output; the other targets have lora's");
    choice.visit(v);
  }
};

bool acts_after(const OutputLoraConfig& config, const std::string& layer) {
  for (const auto& ending : config.after)
    if (pattern_matches_end(ending, layer)) return true;
  return false;
}

class OutputLoraAdapter final : public Adapter {
 public:
  OutputLoraAdapter(LoraFactors factors, double scale, double dropout) : factors_(std::move(factors)), scale_(scale), dropout_(dropout) {}

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    const auto o = frozen_linear(x, call.base, call.bias);
    const double p = call.context.training ? dropout_ : 0.0;
    const auto latent = thin_product(with_dropout(o, p, call.context.dropout_seed ^ call.slot_seed), factors_.a);
    return o + ops::mm(latent, factors_.b.t().to(latent.scalar_type())) * scale_;
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override { return with_update(base.weight()); }
  at::Tensor merged_bias(const at::Tensor& bias) const override { return with_update(bias.to(at::kFloat).unsqueeze(1)).squeeze(1).to(bias.scalar_type()); }
  NamedTensors parameters() const override { return {{"lora_A.weight", factors_.a}, {"lora_B.weight", factors_.b}}; }

 private:
  /// (I + s B A) m for m (out, any).
  at::Tensor with_update(const at::Tensor& m) const {
    return m.addmm(factors_.b.detach(), at::mm(factors_.a.detach(), m), 1, scale_);
  }

  LoraFactors factors_;
  double scale_, dropout_;
};

nlohmann::json published_form(const OutputLoraConfig& config) {
  return {{"peft_type", "OUTPUT_LORA"}, {"r", config.rank}, {"lora_alpha", config.alpha}, {"lora_dropout", config.dropout}, {"after", config.after}};
}

std::unique_ptr<Attachment> attach(Places& places, const OutputLoraConfig& config, const AttachContext& context) {
  expect_dropout(config.dropout);
  auto random = at::make_generator<at::CPUGeneratorImpl>(context.seed);
  const double scale = config.alpha / static_cast<double>(config.rank);
  const auto make = [&](const LinearSlot& slot) -> std::shared_ptr<Adapter> {
    expect_rank(config.rank, slot);
    const bool after = acts_after(config, slot.name());
    const auto out = slot.base()->out_features(), reads = after ? out : slot.base()->in_features();
    const LoraFactors factors(at::empty({config.rank, reads}, at::kFloat).normal_(0, kStartDeviation, random), at::zeros({out, config.rank}));
    if (after) return std::make_shared<OutputLoraAdapter>(factors, scale, config.dropout);
    return std::make_shared<LoraAdapter>(factors, LoraLayer{*slot.base(), config.rank, scale, config.dropout, random, slot.name()});
  };
  return std::make_unique<PublishedLayerAdapters>(places, config.choice, make, published_form(config));
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  auto section = published_section(published, "OUTPUT_LORA", "output_lora");
  if (!section) return std::nullopt;
  read_published(published, "r", *section, "rank", 16);
  read_published(published, "lora_alpha", *section, "alpha", 32);
  read_published(published, "lora_dropout", *section, "dropout", 0.1);
  read_published(published, "after", *section, "after", OutputLoraConfig().after);
  return ConfigNode::parse(section->dump(), "adapter_config.json");
}

}  // namespace

MethodSpec output_lora_method() {
  return {.name = "output_lora",
          .paper = "arXiv:2602.20409",
          .use_when = "an encoder such as CLIP is adapted as CLIPoint3D does it; else lora does the same with less work",
          .parameters = "2 r out behind a layer, r (in + out) beside one",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = [](Places& places, const ConfigNode& node, const AttachContext& context) -> std::unique_ptr<Attachment> {
            return attach(places, read_config<OutputLoraConfig>(node), context);
          },
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<OutputLoraConfig>(config), "method"); },
          .published = {.peft_type = "OUTPUT_LORA", .keys = {"r", "lora_alpha", "lora_dropout", "after"}, .tensor_marks = {".lora_"}}};
}

}  // namespace graft::peft
