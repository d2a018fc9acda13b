#include "peft_core/methods/low_rank/loftq.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "kernels/base/error.h"
#include "peft_core/methods/low_rank/leading_svd.h"
#include "peft_core/methods/low_rank/lora_adapter.h"
#include "peft_core/methods/low_rank/method_section.h"
#include "peft_core/slots/quantized_linear.h"

namespace graft::peft {
namespace {

struct LoftqConfig {
  LoraConfig lora{.name = "loftq", .choice = {}, .rank_pattern = {}, .alpha_pattern = {}};
  int64_t iterations = 1;
  int64_t bits = 4;

  template <class Visitor>
  void visit(Visitor& v) {
    lora.visit(v);
    v("iterations", iterations, "rounds of quantising and fitting; above 1 the adapter brings a base of its own");
    v("bits", bits, "of the quantised base: 4 (NF4)");
  }
};

LoftqConfig read(const ConfigNode& section) {
  auto config = read_config<LoftqConfig>(section);
  expect_range("method.iterations", static_cast<double>(config.iterations), 1, 1000);
  if (config.bits != 4)
    throw InvalidArgument({.where = "method.bits", .what = "is not supported", .expected = "4 (NF4)", .got = std::to_string(config.bits)});
  return config;
}

bool is_nf4(const FrozenLinear& base) { return base.storage() == "nf4"; }
bool needs_own_base(const FrozenLinear& base, const LoftqConfig& config) { return config.iterations > 1 || !is_nf4(base); }

at::Tensor weight_before_quantising(const LoraLayer& layer) {
  if (auto original = layer.base.original(); original.defined()) return original;
  throw InvalidArgument({.where = layer.name, .what = "loftq needs the weight as it was before it was quantised, and it was quantised in its file",
                         .got = layer.base.storage(), .hint = "give a file of 16 or 32 bits, with --set base.quantize=nf4"});
}

class LoftqAdapter final : public LoraAdapter {
 public:
  LoftqAdapter(LoraFactors factors, const LoraLayer& layer, std::shared_ptr<const FrozenLinear> own_base)
      : LoraAdapter(std::move(factors), layer), own_base_(std::move(own_base)) {}

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    return LoraAdapter::forward(x, call, own_base_ == nullptr ? call.base : own_base_);
  }
  std::optional<LowRankUpdate> low_rank() const override { return own_base_ == nullptr ? LoraAdapter::low_rank() : std::nullopt; }
  at::Tensor merged_weight(const FrozenLinear& base) const override { return LoraAdapter::merged_weight(own_base_ == nullptr ? base : *own_base_); }

 private:
  std::shared_ptr<const FrozenLinear> own_base_;  // null: the slot's
};

std::shared_ptr<Adapter> fitted(const LoraLayer& layer, const LoftqConfig& config, bool restoring) {
  const at::NoGradGuard no_gradient;
  const bool own = needs_own_base(layer.base, config);
  if (restoring && !own) return std::make_shared<LoftqAdapter>(LoraFactors(layer), layer, nullptr);
  if (!(layer.scale > 0)) throw InvalidArgument({.where = "method.alpha", .what = "loftq's start needs a scale above 0"});
  const auto weight = weight_before_quantising(layer);
  auto quantised = own ? nf4_linear(weight) : nullptr;
  at::Tensor a, b;
  for (int64_t i = 0; i < config.iterations; ++i) {
    if (i > 0) quantised = nf4_linear(weight - at::mm(b, a) * layer.scale);
    const auto svd = leading_svd(weight - (quantised == nullptr ? layer.base : *quantised).weight(), layer.rank);
    const auto root = (svd.s / layer.scale).sqrt();
    a = (svd.v * root).t(), b = svd.u * root;
  }
  return std::make_shared<LoftqAdapter>(LoraFactors(a, b), layer, quantised);
}

}  // namespace

MethodSpec loftq_method() {
  return {.name = "loftq",
          .paper = "arXiv:2310.08659",
          .use_when = "the base is held in 4 bits and the loss of quantising it is felt",
          .parameters = "r (in + out) per layer",
          .traits = {.identity_at_start = false, .on_quantised_files = false},
          .attach = [](Places& places, const ConfigNode& section, const AttachContext& context) -> std::unique_ptr<Attachment> {
            const auto config = read(section);
            bool own_base = false;
            const auto make = [&](const LoraLayer& layer) { return fitted(layer, config, context.restoring); };
            for (const auto& one : ranked_slots(places, config.lora)) own_base = own_base || needs_own_base(*one.slot->base(), config);
            const auto describe = [config, own_base](nlohmann::json& published) {
              published[kOwnSection] = JsonSection::of(config);
              if (!own_base) return;  // a plain LoRA on a plain NF4 base
              published["init_lora_weights"] = "loftq";
              published["loftq_config"] = {{"loftq_bits", config.bits}, {"loftq_iter", config.iterations}};
            };
            return attach_lora_family(places, config.lora, context.seed, {.make = make, .describe = describe});
          },
          .from_published = [](const nlohmann::json& published) { return lora_from_published(published, "loftq"); },
          .resolved = [](const ConfigNode& section) { return write_config(read(section), "method"); },
          .published = lora_published_form()};
}

}  // namespace graft::peft
