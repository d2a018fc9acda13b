#include "peft_core/methods/spectral/frame.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/methods/dropout.h"
#include "peft_core/methods/layer_adapters.h"
#include "peft_core/methods/low_rank/method_section.h"
#include "peft_core/methods/low_rank/thin_ops.h"
#include "peft_core/methods/spectral/expert_routing.h"
#include "peft_core/methods/spectral/turned_rows.h"

namespace graft::peft {
namespace {

enum class Sides { kBoth, kInput };
EnumNames<Sides> config_names(Sides) { return {{"both", Sides::kBoth}, {"input", Sides::kInput}}; }

struct FrameConfig {
  std::string name = "frame";
  int64_t rank = 8;
  int64_t experts = 8;
  int64_t top = 2;
  double scale = 1.0;
  double dropout = 0.0;
  Sides sides = Sides::kBoth;
  std::vector<double> orders;
  bool learn_orders = true;
  double order_rate = 5.0;
  int64_t order_start = 100;
  double order_clip = 1.0;
  double balance = 0.01;
  int64_t order_groups = 3;
  LayerChoice choice;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("rank", rank, "inner size r of each expert; 1 <= r <= min(in, out) of every layer");
    v("experts", experts, "experts E in a layer");
    v("top", top, "experts that a token goes to");
    v("scale", scale, "what the update is multiplied with");
    v("dropout", dropout, "probability of dropping an input of the experts while training, in [0, 1)");
    v("sides", sides, "both: the order turns both sides of an expert; input: its input only");
    v("orders", orders, "orders at the start, one an expert, 0 plain to 1 Fourier; empty: spread evenly");
    v("learn_orders", learn_orders, "false: the orders stay what they are");
    v("order_rate", order_rate, "learning rate of the orders over that of the rest");
    v("order_start", order_start, "steps before the orders learn");
    v("order_clip", order_clip, "largest norm of the gradient of a layer's orders; 0: off");
    v("balance", balance, "weight of the loss that keeps groups of orders evenly used; 0: off");
    v("order_groups", order_groups, "groups of experts by order: spatial, mixed, spectral");
    choice.visit(v);
  }
};

FrameConfig read(const ConfigNode& section) {
  auto config = read_config<FrameConfig>(section);
  expect_range("method.experts", static_cast<double>(config.experts), 1, 4096);
  expect_range("method.top", static_cast<double>(config.top), 1, static_cast<double>(config.experts));
  expect_range("method.order_groups", static_cast<double>(config.order_groups), 1, 64);
  expect_range("method.order_rate", config.order_rate, 0, 1e6);
  expect_range("method.balance", config.balance, 0, 1e6);
  expect_range("method.order_clip", config.order_clip, 0, 1e9);
  expect_dropout(config.dropout);
  if (!config.orders.empty() && std::ssize(config.orders) != config.experts)
    throw InvalidArgument({.where = "method.orders", .what = "has another length than method.experts", .expected = std::to_string(config.experts),
                           .got = std::to_string(config.orders.size())});
  for (const double order : config.orders) expect_range("method.orders", order, 0, 1);
  return config;
}

std::vector<double> first_orders(const FrameConfig& config) {
  if (!config.orders.empty()) return config.orders;
  std::vector<double> orders;
  const auto last = static_cast<double>(std::max<int64_t>(1, config.experts - 1));
  for (int64_t e = 0; e < config.experts; ++e) orders.push_back(static_cast<double>(e) / last);
  return orders;
}

void expect_fitting(const FrameConfig& config, const LinearSlot& slot) {
  const auto in = slot.base()->in_features(), out = slot.base()->out_features(), limit = std::min(in, out);
  if (config.rank < 1 || config.rank > limit)
    throw InvalidArgument({.where = "method.rank", .what = "does not fit layer " + slot.name(),
                           .expected = "1.." + std::to_string(limit) + " = min(in, out)", .got = std::to_string(config.rank)});
  if (in % 2 == 0 && out % 2 == 0) return;
  throw InvalidArgument({.where = slot.name(), .what = "has an odd number of inputs or outputs, for which order 1 is not the Fourier transform",
                         .got = std::to_string(in) + " -> " + std::to_string(out), .hint = "leave it out with method.exclude"});
}

class FrameAdapter final : public Adapter {
 public:
  FrameAdapter(const FrozenLinear& base, const FrameConfig& config, at::Generator& random) : config_(config) {
    const int64_t in = base.in_features(), out = base.out_features(), experts = config.experts;
    const double bound = 1 / std::sqrt(static_cast<double>(in));
    a_ = at::empty({experts, config.rank, in}, at::kFloat).uniform_(-bound, bound, random).requires_grad_();
    b_ = at::zeros({experts, out, config.rank}, at::kFloat).requires_grad_();
    if (experts > 1) router_ = at::empty({experts, in}, at::kFloat).uniform_(-bound, bound, random).requires_grad_();
    orders_ = at::tensor(first_orders(config), at::kFloat);
    if (config.learn_orders) orders_ = at::logit(orders_, /*eps=*/0.02).requires_grad_();
  }

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    const auto [a, b] = factors();
    const double dropout = call.context.training ? config_.dropout : 0.0;
    auto z = thin_product(with_dropout(x, dropout, call.context.dropout_seed ^ call.slot_seed), a);
    if (!router_.defined()) return latent_linear(x, z, b, config_.scale, call.base, call.bias);
    const auto routing = route(thin_product(x, router_), config_.top);
    z = (z.view({x.size(0), config_.experts, -1}) * routing.gates.unsqueeze(2)).to(x.scalar_type()).view(z.sizes());
    const auto y = latent_linear(x, z, b, config_.scale, call.base, call.bias);
    if (!call.context.training || config_.balance == 0 || x.size(0) == 0) return y;
    return with_extra_loss(y, group_balance(routing, order_groups()) * config_.balance);
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override {
    if (config_.experts > 1)
      throw InvalidArgument({.where = "frame", .what = "cannot be merged: each token has its own mixture of experts",
                             .hint = "use the adapter beside its base; with method.experts=1 it merges"});
    const auto [a, b] = factors();
    return base.weight().addmm_(b.detach(), a.detach(), 1, config_.scale);
  }

  NamedTensors parameters() const override {
    NamedTensors all = {{"frame_A", a_}, {"frame_B", b_}};
    if (router_.defined()) all.emplace_back("frame_router.weight", router_);
    if (config_.learn_orders) all.emplace_back("frame_order", orders_);
    return all;
  }
  NamedTensors fixed() const override {
    if (config_.learn_orders) return {};
    return {{"frame_order", orders_}};
  }

  /// θ; undefined where the orders do not learn.
  at::Tensor order_parameter() const { return config_.learn_orders ? orders_ : at::Tensor(); }

 private:
  struct Factors {
    at::Tensor a, b;  // (E q, in), (out, E q): real, q = 2 r, or r where nothing imaginary takes part
  };

  at::Tensor orders() const { return config_.learn_orders ? at::sigmoid(orders_) : orders_; }

  /// Of prediction, which asks for the same ones token by token, the last are kept.
  Factors factors() const {
    if (at::GradMode::is_enabled()) return made_factors();
    const std::array<int64_t, 3> version = {a_._version(), b_._version(), orders_._version()};
    if (!kept_.a.defined() || version != kept_version_) kept_ = made_factors(), kept_version_ = version;
    return kept_;
  }

  /// F is symmetric, so A F^a turns A's rows and F^{−a} B turns B's columns; Re(B̃ Ã x) = Re B̃ Re Ã x − Im B̃ Im Ã x, and B̃ is the conjugate
  /// of what order a makes of B, so that the parts of both stand there with the same signs.
  Factors made_factors() const {
    const auto in = a_.size(2), out = b_.size(1);
    const auto wide = b_.transpose(1, 2);  // (E, r, out)
    const bool plain = !config_.learn_orders && orders_.eq(0).all().item<bool>();
    if (plain) return {a_.view({-1, in}), wide.reshape({-1, out}).t()};
    const auto turned_a = turned_rows(a_, orders());
    if (config_.sides == Sides::kInput) return {turned_a.narrow(1, 0, config_.rank).reshape({-1, in}), wide.reshape({-1, out}).t()};
    return {turned_a.view({-1, in}), turned_rows(wide, orders()).view({-1, out}).t()};
  }

  /// (E, M): which group an expert's order lies in.
  at::Tensor order_groups() const {
    const auto group = (orders().detach() * static_cast<double>(config_.order_groups)).floor().clamp(0, static_cast<double>(config_.order_groups - 1));
    return at::one_hot(group.to(at::kLong), config_.order_groups).to(at::kFloat);
  }

  FrameConfig config_;
  at::Tensor a_, b_, router_, orders_;  // orders_: θ, or the orders themselves
  mutable Factors kept_;
  mutable std::array<int64_t, 3> kept_version_{};
};

class FrameAttachment final : public LayerAdapters {
 public:
  FrameAttachment(Places& places, const FrameConfig& config, const Make& make) : LayerAdapters(places, config.choice, make), config_(config) {
    for (const auto& adapter : adapters())
      if (auto theta = static_cast<const FrameAdapter&>(*adapter).order_parameter(); theta.defined()) orders_.push_back(theta);
  }

  std::vector<TrainableGroup> trainable() const override {
    auto groups = LayerAdapters::trainable();
    for (auto& group : groups)
      if (group.name == "frame_order") group.weight_decay = false, group.learning_rate_factor = config_.order_rate;
    return groups;
  }

  void before_step(int64_t step, double gradient_scale) override {
    for (const auto& theta : orders_) {
      auto gradient = theta.grad();
      if (!gradient.defined()) continue;
      if (step < config_.order_start) gradient.zero_();
      const double norm = gradient.norm().item<double>() * gradient_scale;
      if (config_.order_clip > 0 && norm > config_.order_clip) gradient.mul_(config_.order_clip / norm);
    }
  }

  nlohmann::json published_config() const override {
    auto published = JsonSection::of(config_);
    for (const auto* key : {"name", "targets", "exclude", "layers", "rank"}) published.erase(key);
    published.update({{"peft_type", "FRAME"}, {"r", config_.rank}, {"target_modules", published_targets()}});
    return published;
  }

 private:
  FrameConfig config_;
  std::vector<at::Tensor> orders_;
};

const std::vector<std::string> kKeys = {"experts", "top", "scale", "dropout", "sides", "orders", "learn_orders", "order_rate", "order_start", "order_clip",
                                        "balance", "order_groups"};

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "FRAME") return std::nullopt;
  nlohmann::json method = {{"name", "frame"}, {"rank", published.at("r")}};
  for (const auto& key : kKeys)
    if (const auto found = published.find(key); found != published.end()) method[key] = *found;
  read_published_targets(published, method);
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

std::vector<std::string> published_keys() {
  auto keys = kKeys;
  keys.push_back("r");
  return keys;
}

}  // namespace

MethodSpec frame_method() {
  return {.name = "frame",
          .paper = "after the idea of arXiv:2607.00162",
          .use_when = "tasks are mixed and each token may choose between plain and Fourier-like updates; it does not merge",
          .parameters = "E r (in + out) + E in + E per layer",
          .traits = {.identity_at_start = true, .mergeable = false, .exact_gradient = false, .chooses_parts = true},
          .attach = [](Places& places, const ConfigNode& section, const AttachContext& context) -> std::unique_ptr<Attachment> {
            const auto config = read(section);
            auto random = at::make_generator<at::CPUGeneratorImpl>(context.seed);
            return std::make_unique<FrameAttachment>(places, config, [&](const LinearSlot& slot) {
              expect_fitting(config, slot);
              return std::make_shared<FrameAdapter>(*slot.base(), config, random);
            });
          },
          .from_published = from_published,
          .resolved = [](const ConfigNode& section) { return write_config(read(section), "method"); },
          .published = {.peft_type = "FRAME", .keys = published_keys(), .tensor_marks = {".frame_"}}};
}

}  // namespace graft::peft
