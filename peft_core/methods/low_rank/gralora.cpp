#include "peft_core/methods/low_rank/gralora.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/methods/dropout.h"
#include "peft_core/methods/low_rank/low_rank_op.h"
#include "peft_core/methods/published_form.h"
#include "peft_core/methods/start_values.h"

namespace graft::peft {
namespace {

struct GraloraConfig {
  std::string name = "gralora";
  int64_t rank = 32;
  int64_t gralora_k = 2;
  int64_t hybrid_r = 0;
  double alpha = 64.0;
  double dropout = 0.0;
  LayerChoice choice;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("rank", rank, "r: as many numbers as lora's at that rank; each block has rank r / gralora_k");
    v("gralora_k", gralora_k, "the weight is cut into this many blocks along each side; divides r and the layers' sizes");
    v("hybrid_r", hybrid_r, "rank of a plain pair over the whole weight beside them; 0: none");
    v("alpha", alpha, "the update is scaled by alpha / (r + hybrid_r)");
    v("dropout", dropout, "probability of dropping an input of the update while training, in [0, 1)");
    choice.visit(v);
  }
};

void check(const GraloraConfig& config) {
  expect_range("method.rank", static_cast<double>(config.rank), 1, 65536);
  expect_range("method.gralora_k", static_cast<double>(config.gralora_k), 1, 65536);
  expect_range("method.hybrid_r", static_cast<double>(config.hybrid_r), 0, 65536);
  expect_dropout(config.dropout);
  if (config.rank % config.gralora_k != 0)
    throw InvalidArgument({.where = "method.gralora_k", .what = "does not divide method.rank", .expected = "a divisor of " + std::to_string(config.rank),
                           .got = std::to_string(config.gralora_k)});
}

void expect_whole_blocks(int64_t k, const LinearSlot& slot) {
  for (const auto size : {slot.base()->in_features(), slot.base()->out_features()})
    if (size % k != 0)
      throw InvalidArgument({.where = "method.gralora_k", .what = "does not fit layer " + slot.name(),
                             .expected = "a divisor of " + std::to_string(size), .got = std::to_string(k)});
}

class GraloraAdapter final : public Adapter {
 public:
  GraloraAdapter(const FrozenLinear& base, const GraloraConfig& config, at::Generator& random)
      : k_(config.gralora_k), scale_(config.alpha / static_cast<double>(config.rank + config.hybrid_r)), dropout_(config.dropout) {
    const auto in = base.in_features(), out = base.out_features();
    a_ = uniform_leaf({k_, in / k_, config.rank}, random);
    b_ = zero_leaf({k_, config.rank, out / k_});
    if (config.hybrid_r == 0) return;
    whole_a_ = uniform_leaf({config.hybrid_r, in}, random);
    whole_b_ = zero_leaf({out, config.hybrid_r});
  }

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    const double dropout = call.context.training ? dropout_ : 0.0;
    return low_rank_linear(x, down(), up(), scale_, call.base, call.bias, dropout, call.context.dropout_seed ^ call.slot_seed);
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override { return base.weight().addmm_(up().detach(), down().detach(), 1, scale_); }

  NamedTensors parameters() const override {
    NamedTensors all = {{"gralora_A", a_}, {"gralora_B", b_}};
    if (whole_a_.defined()) all.insert(all.end(), {{"gralora_A_general.weight", whole_a_}, {"gralora_B_general.weight", whole_b_}});
    return all;
  }

  std::optional<LowRankUpdate> low_rank() const override { return LowRankUpdate{down(), up(), scale_, dropout_}; }

 private:
  // All blocks as one pair of rank k r, in which most is zero: so they ride on the base's product, which costs less than products of single
  // blocks beside it. A latent number is (j, i, t): it takes from the inputs' block i and gives to the outputs' block j.
  at::Tensor down() const {
    const int64_t r = a_.size(2);
    const auto by_input = at::block_diag(a_.transpose(1, 2).unbind(0));  // (i j t, in)
    const auto by_output = by_input.view({k_, k_, r / k_, -1}).transpose(0, 1).reshape({k_ * r, -1});
    return whole_a_.defined() ? at::cat({by_output, whole_a_}) : by_output;
  }
  at::Tensor up() const {
    const auto blocks = at::block_diag(b_.transpose(1, 2).unbind(0));  // (out, j i t)
    return whole_b_.defined() ? at::cat({blocks, whole_b_}, 1) : blocks;
  }

  int64_t k_;
  double scale_, dropout_;
  at::Tensor a_, b_, whole_a_, whole_b_;
};

nlohmann::json published_form(const GraloraConfig& config) {
  return {{"peft_type", "GRALORA"},
          {"r", config.rank},
          {"hybrid_r", config.hybrid_r},
          {"alpha", config.alpha},
          {"gralora_dropout", config.dropout},
          {"gralora_k", config.gralora_k},
          {"fan_in_fan_out", false},
          {"init_weights", true},
          {"bias", "none"},
          {"modules_to_save", nullptr}};
}

std::unique_ptr<Attachment> attach(Places& places, const ConfigNode& section, const AttachContext& context) {
  const auto config = read_config<GraloraConfig>(section);
  check(config);
  auto random = at::make_generator<at::CPUGeneratorImpl>(context.seed);
  const auto make = [&](const LinearSlot& slot) {
    expect_whole_blocks(config.gralora_k, slot);
    return std::make_shared<GraloraAdapter>(*slot.base(), config, random);
  };
  return std::make_unique<PublishedLayerAdapters>(places, config.choice, make, published_form(config));
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "GRALORA") return std::nullopt;
  refuse_set(published, {"fan_in_fan_out"});
  nlohmann::json method = {{"name", "gralora"},
                           {"rank", published_value<int64_t>(published, "r", 32)},
                           {"gralora_k", published_value<int64_t>(published, "gralora_k", 2)},
                           {"hybrid_r", published_value<int64_t>(published, "hybrid_r", 0)},
                           {"alpha", published_value(published, "alpha", 64.0)},
                           {"dropout", published_value(published, "gralora_dropout", 0.0)}};
  read_published_targets(published, method);
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec gralora_method() {
  return {.name = "gralora",
          .paper = "arXiv:2505.20355",
          .use_when = "lora at a high rank (64 and more) stops getting better: blocks keep one loud input channel from all others' gradients",
          .parameters = "(r + hybrid_r) (in + out) per layer",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = attach,
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<GraloraConfig>(config), "method"); },
          .published = {.peft_type = "GRALORA",
                        .keys = {"r", "hybrid_r", "alpha", "gralora_dropout", "gralora_k", "fan_in_fan_out", "init_weights", "bias"},
                        .tensor_marks = {".gralora_"}}};
}

}  // namespace graft::peft
