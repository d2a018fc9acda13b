#include "peft_core/methods/low_rank/na_lora.h"

#include <ATen/ATen.h>

#include <map>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/base/log.h"
#include "peft_core/methods/low_rank/channel_gain.h"
#include "peft_core/methods/low_rank/factor_gradients.h"
#include "peft_core/methods/low_rank/lora_adapter.h"
#include "peft_core/methods/low_rank/low_rank_op.h"
#include "peft_core/methods/low_rank/method_section.h"

namespace graft::peft {
namespace {

enum class Mask { kChannel, kToken, kNone };
EnumNames<Mask> config_names(Mask) { return {{"channel", Mask::kChannel}, {"token", Mask::kToken}, {"none", Mask::kNone}}; }

enum class ScaledPart { kUpdate, kGradient };
EnumNames<ScaledPart> config_names(ScaledPart) { return {{"update", ScaledPart::kUpdate}, {"gradient", ScaledPart::kGradient}}; }

struct NaLoraConfig {
  LoraConfig lora{.name = "na_lora", .choice = {.targets = {"gate_proj", "up_proj", "down_proj"}, .exclude = {}, .layers = {}}, .rank_pattern = {}, .alpha_pattern = {}};
  std::vector<std::string> gates = {"gate_proj"};
  bool mask_up = false;
  Mask mask = Mask::kChannel;
  ScaledPart scaled = ScaledPart::kUpdate;
  ChannelGainOptions gain;

  template <class Visitor>
  void visit(Visitor& v) {
    lora.visit(v);
    v("gates", gates, "layers whose output goes into the activation, written as targets are");
    v("mask_up", mask_up, "the layer beside the gate (up_proj) learns in the gate's channels only, too");
    v("activation", gain.activation, "the model's own: silu, gelu or relu (no classes, so no step scaling)");
    v("mask", mask, "channel (by the average over training), token (each token's own slopes) or none");
    v("mask_start", gain.start, "steps before the first mask");
    v("mask_refresh", gain.refresh, "steps from one mask to the next");
    v("decay", gain.decay, "of the averages over steps, in [0, 1)");
    v("kept_share", gain.kept_share, "share of a gate's channels that go on learning, in (0, 1]");
    v("threshold", gain.threshold, "keep the channels above this part of the largest average instead; null: by kept_share");
    v("mask_floor", gain.floor, "what is left of the other channels' learning, in [0, 1]");
    v("scaling", gain.scaling, "weight of a channel's steps: classes (by the sign of its effective homogeneity), homogeneity or none");
    v("scaled", scaled, "what the step scaling acts on: update (of B's rows, after the optimizer) or gradient (which Adam partly undoes)");
    v("positive", gain.positive, "weight of tokens with z above 0");
    v("transitional", gain.transitional, "weight of tokens with z between the activation's minimum and 0");
    v("suppressed", gain.suppressed, "weight of tokens with z below the activation's minimum");
    v("sampled_tokens", gain.sampled_tokens, "tokens of a batch that the averages look at; 0: all");
  }
};

NaLoraConfig read(const ConfigNode& section) {
  auto config = read_config<NaLoraConfig>(section);
  expect_range("method.kept_share", config.gain.kept_share, 1e-6, 1);
  expect_range("method.mask_floor", config.gain.floor, 0, 1);
  expect_range("method.decay", config.gain.decay, 0, 1 - 1e-9);
  expect_range("method.threshold", config.gain.threshold.value_or(0), 0, 1);
  expect_range("method.mask_start", static_cast<double>(config.gain.start), 1, 1e12);
  expect_range("method.mask_refresh", static_cast<double>(config.gain.refresh), 1, 1e12);
  expect_range("method.sampled_tokens", static_cast<double>(config.gain.sampled_tokens), 0, 1e12);
  return config;
}

/// LoRA's product, whose factors learn by the gain of their layer's channels.
class NaLoraAdapter final : public LoraAdapter {
 public:
  NaLoraAdapter(LoraFactors factors, const LoraLayer& layer, const NaLoraConfig& config, std::shared_ptr<ChannelGain> gain, bool is_gate)
      : LoraAdapter(std::move(factors), layer), config_(config), gain_(std::move(gain)), is_gate_(is_gate), dropout_(layer.dropout) {}

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    const bool learning = call.context.training && at::GradMode::is_enabled();  // a checkpointed layer's first pass does not
    const auto y = learning && weighs() ? weighed(x, call) : LoraAdapter::forward(x, call);
    if (learning && is_gate_) gain_->watch(y);
    return y;
  }

  const at::Tensor& b() const { return factors().b; }
  /// Of each row's update, after the optimizer.
  at::Tensor update_factor() const { return (config_.mask == Mask::kChannel ? gain_->mask() : at::ones_like(gain_->mask())) * gain_->factor(); }

 private:
  bool weighs() const { return config_.mask == Mask::kToken || gain_->at_work(); }

  at::Tensor weighed(const at::Tensor& x, const SlotCall& call) const {
    const auto& [a, b] = factors();
    const auto seed = call.context.dropout_seed ^ call.slot_seed;
    const auto y = low_rank_linear(x, a.detach(), b.detach(), scale(), call.base, call.bias, dropout_, seed);
    const bool by_token = config_.mask == Mask::kToken && is_gate_;
    const auto gain = config_.scaled == ScaledPart::kGradient ? update_factor()
                      : config_.mask == Mask::kChannel        ? gain_->mask()
                                                              : at::Tensor();
    return with_factor_gradients(y, x, a, b, {.scale = scale(), .dropout = dropout_, .seed = seed, .channel_gain = gain,
                                              .token_gain = by_token ? token_slopes(y) : at::Tensor()});
  }

  /// |φ'(z)| of each token over its own largest.
  at::Tensor token_slopes(const at::Tensor& z) const {
    const auto slopes = slope(config_.gain.activation, z.detach()).abs_();
    return slopes.div_(slopes.amax({1}, /*keepdim=*/true).clamp_min(1e-12)).to(z.scalar_type());
  }

  NaLoraConfig config_;
  std::shared_ptr<ChannelGain> gain_;
  bool is_gate_;
  double dropout_;
};

using Gains = std::map<std::string, std::shared_ptr<ChannelGain>>;

/// LoRA's attachment, and what training does around its steps.
class NaLoraAttachment final : public Attachment {
 public:
  NaLoraAttachment(std::unique_ptr<Attachment> lora, Gains gains, std::vector<std::shared_ptr<NaLoraAdapter>> weighed, ScaledPart scaled)
      : lora_(std::move(lora)), gains_(std::move(gains)), weighed_(std::move(weighed)), scaled_(scaled) {}

  std::vector<TrainableGroup> trainable() const override { return lora_->trainable(); }
  AdapterState state() const override { return lora_->state(); }
  nlohmann::json published_config() const override { return lora_->published_config(); }
  void detach() override { lora_->detach(); }
  void merge(at::ScalarType dtype) override { lora_->merge(dtype); }
  void move_to(at::Device device) override {
    lora_->move_to(device);
    for (const auto& [name, gain] : gains_) gain->move_to(device);
  }

  NamedTensors training_state() const override {
    NamedTensors all;
    for (const auto& [name, gain] : gains_)
      for (auto& kept : gain->state()) all.push_back(std::move(kept));
    return all;
  }

  void before_step(int64_t, double) override {
    before_.clear();
    if (scaled_ != ScaledPart::kUpdate) return;
    for (const auto& adapter : weighed_) before_.push_back(adapter->b().detach().clone());
  }

  bool after_step(int64_t step) override {
    const at::NoGradGuard no_gradient;
    for (size_t i = 0; i < before_.size(); ++i) {
      const auto factor = weighed_[i]->update_factor();
      if (!factor.eq(1).all().item<bool>()) weighed_[i]->b().detach().sub_(before_[i]).mul_(factor.unsqueeze(1)).add_(before_[i]);
    }
    before_.clear();
    for (const auto& [name, gain] : gains_) gain->end_step(step);
    return false;
  }

 private:
  std::unique_ptr<Attachment> lora_;
  Gains gains_;                                          // by the gate's name
  std::vector<std::shared_ptr<NaLoraAdapter>> weighed_;  // gates, and the layers beside them where they are masked too
  ScaledPart scaled_;
  std::vector<at::Tensor> before_;
};

std::string parent_of(const std::string& name) { return name.substr(0, name.rfind('.') + 1); }

/// One gain for every adapted gate.
Gains gains_of(const Places& places, const NaLoraConfig& config) {
  const auto chosen = chosen_slots(places, config.lora.choice);
  Gains gains;
  for (const auto* gate : matching_linears(places, config.gates, "method.gates"))
    if (std::find(chosen.begin(), chosen.end(), gate) != chosen.end())
      gains[gate->name()] = std::make_shared<ChannelGain>(gate->name(), gate->base()->out_features(), config.gain);
  if (gains.empty())
    throw InvalidArgument({.where = "method.gates", .what = "choose no layer that method.targets adapt", .hint = "without gates this is the method lora"});
  return gains;
}

std::unique_ptr<Attachment> attach(Places& places, NaLoraConfig config, uint64_t seed) {
  const auto asked = JsonSection::of(config);
  if (config.gain.activation == SelfGated::kRelu && config.gain.scaling != StepScaling::kNone) {
    log_info("na_lora: relu has no classes by effective homogeneity, so steps are not scaled");
    config.gain.scaling = StepScaling::kNone;
  }
  const auto gains = gains_of(places, config);
  Gains beside;
  if (config.mask_up)
    for (const auto& [name, gain] : gains) beside[parent_of(name) + "up_proj"] = gain;
  std::vector<std::shared_ptr<NaLoraAdapter>> weighed;
  const auto make = [&](const LoraLayer& layer) -> std::shared_ptr<Adapter> {
    const bool is_gate = gains.contains(layer.name);
    if (!is_gate && !beside.contains(layer.name)) return std::make_shared<LoraAdapter>(LoraFactors(layer), layer);
    weighed.push_back(std::make_shared<NaLoraAdapter>(LoraFactors(layer), layer, config, (is_gate ? gains : beside).at(layer.name), is_gate));
    return weighed.back();
  };
  auto lora = attach_lora_family(places, config.lora, seed,
                                 {.make = make, .describe = [asked](nlohmann::json& published) { published[kOwnSection] = asked; }});
  return std::make_unique<NaLoraAttachment>(std::move(lora), gains, std::move(weighed), config.scaled);
}

}  // namespace

MethodSpec na_lora_method() {
  return {.name = "na_lora",
          .paper = "after the idea of arXiv:2606.31717",
          .use_when = "lora on gated feed-forward blocks, whose gates should not learn where the activation is flat; saved as plain lora",
          .parameters = "r (in + out) per layer",
          .traits = {},
          .attach = [](Places& places, const ConfigNode& section, const AttachContext& context) -> std::unique_ptr<Attachment> {
            return attach(places, read(section), context.seed);
          },
          .from_published = [](const nlohmann::json& published) { return lora_from_published(published, "na_lora"); },
          .resolved = [](const ConfigNode& section) { return write_config(read(section), "method"); },
          .published = lora_published_form()};
}

}  // namespace graft::peft
