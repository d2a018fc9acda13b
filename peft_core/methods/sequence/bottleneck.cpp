#include "peft_core/methods/sequence/bottleneck.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "kernels/ops/dense_products.h"
#include "peft_core/methods/dropout.h"
#include "peft_core/methods/start_values.h"

namespace graft::peft {
namespace {

constexpr const char* kType = "GRAFT_BOTTLENECK";  // a type of our own: PEFT has no such method

class Bottleneck final : public ActivationAdapter {
 public:
  Bottleneck(const BottleneckConfig& config, int64_t width, at::Generator& random) : config_(config) {
    const auto inner = std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(width) / config.reduction_factor));
    down_ = uniform_leaf({inner, width}, random);
    down_bias_ = zero_leaf({inner}), up_ = zero_leaf({width, inner}), up_bias_ = zero_leaf({width});
  }

  at::Tensor forward(const at::Tensor& h, const ActivationCall& call) const override {
    const auto dtype = h.scalar_type();
    auto inner = activated(ops::linear(config_.parallel ? call.input : h, down_.to(dtype), down_bias_.to(dtype)));
    if (call.context.training) inner = with_dropout(inner, config_.dropout, call.context.dropout_seed ^ call.slot_seed);
    return h + ops::linear(inner, up_.to(dtype), up_bias_.to(dtype)) * config_.scaling;
  }

  NamedTensors parameters() const override {
    return {{"adapter_down.weight", down_}, {"adapter_down.bias", down_bias_}, {"adapter_up.weight", up_}, {"adapter_up.bias", up_bias_}};
  }

 private:
  at::Tensor activated(const at::Tensor& x) const {
    switch (config_.activation) {
      case BottleneckActivation::kRelu: return at::relu(x);
      case BottleneckActivation::kGelu: return at::gelu(x);
      case BottleneckActivation::kSilu: break;
    }
    return at::silu(x);
  }

  BottleneckConfig config_;
  at::Tensor down_, down_bias_, up_, up_bias_;
};

class BottleneckAttachment final : public ActivationAdapters {
 public:
  BottleneckAttachment(Places& places, const BottleneckConfig& config, const Make& make)
      : ActivationAdapters(places, config.blocks, make), config_(config) {}

  nlohmann::json published_config() const override {
    return {{"peft_type", kType},           {"reduction_factor", config_.reduction_factor},
            {"non_linearity", enum_name(config_.activation)},  {"scaling", config_.scaling},
            {"parallel", config_.parallel}, {"dropout", config_.dropout},
            {"after", config_.blocks.after}};
  }

 private:
  bool decays(const std::string&) const override { return true; }

  BottleneckConfig config_;
};

std::unique_ptr<Attachment> attach(Places& places, const ConfigNode& section, const AttachContext& context) {
  const auto config = read_config<BottleneckConfig>(section);
  if (!(config.reduction_factor > 0) || !std::isfinite(config.reduction_factor))
    throw InvalidArgument({.where = "method.reduction_factor", .what = "is not positive", .got = std::to_string(config.reduction_factor)});
  expect_dropout(config.dropout);
  auto random = at::make_generator<at::CPUGeneratorImpl>(context.seed);
  return std::make_unique<BottleneckAttachment>(
      places, config, [&](const ActivationSlot& slot) { return std::make_shared<Bottleneck>(config, slot.width(), random); });
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != kType) return std::nullopt;
  nlohmann::json method = {{"name", "bottleneck"}};
  for (const auto* key : {"reduction_factor", "scaling", "parallel", "dropout", "after"}) method[key] = published.at(key);
  method["activation"] = published.at("non_linearity");
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec bottleneck_method() {
  return {.name = "bottleneck",
          .paper = "arXiv:1902.00751, arXiv:2005.00247",
          .use_when = "something that no change of weights can do is to be learnt, and merging is not wanted",
          .parameters = "2 C m + C + m per block, m = C / reduction_factor",
          .traits = {.identity_at_start = true, .mergeable = false, .exact_gradient = true},
          .attach = attach,
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<BottleneckConfig>(config), "method"); },
          .published = {.peft_type = kType,
                        .keys = {"reduction_factor", "non_linearity", "scaling", "parallel", "dropout", "after"},
                        .tensor_marks = {".adapter_"}}};
}

}  // namespace graft::peft
