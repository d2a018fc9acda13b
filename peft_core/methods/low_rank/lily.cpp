#include "peft_core/methods/low_rank/lily.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/methods/low_rank/thin_ops.h"
#include "peft_core/methods/published_form.h"
#include "peft_core/methods/start_values.h"

namespace graft::peft {
namespace {

enum class Routing { kBatch, kToken };
EnumNames<Routing> config_names(Routing) { return {{"batch", Routing::kBatch}, {"token", Routing::kToken}}; }

struct LilyConfig {
  std::string name = "lily";
  int64_t rank = 32;
  int64_t stride_a = 1;
  int64_t num_b = 2;
  double scaling = 1.0;
  Routing routing = Routing::kBatch;
  LayerChoice choice;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("rank", rank, "inner size r; two to four times that of lora, since the matrices are shared");
    v("stride_a", stride_a, "so many neighbouring layers of a kind share one A");
    v("num_b", num_b, "matrices B that all layers of a kind share, at least 2");
    v("scaling", scaling, "what the update is multiplied with");
    v("routing", routing, "mixture of the B: batch (one for all tokens of a call, as PEFT does) or token (each token its own)");
    choice.visit(v);
  }
};

class LilyAdapter final : public Adapter {
 public:
  LilyAdapter(at::Tensor a, at::Tensor b, at::Tensor router, const LilyConfig& config)
      : a_(std::move(a)), b_(std::move(b)), router_(std::move(router)), scaling_(config.scaling), routing_(config.routing) {}

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    const auto h = thin_product(x, a_);  // (N, r)
    const auto p = at::softmax(at::mm(h.to(at::kFloat), router_.t()), 1);  // (N, E)
    const int64_t experts = router_.size(0), r = router_.size(1);
    if (routing_ == Routing::kBatch) {
      const auto mixed = at::mv(b_.view({experts, -1}).t(), p.mean({0})).view({r, -1});  // (r, out)
      return latent_linear(x, h, mixed.t(), scaling_, call.base, call.bias);
    }
    const auto weighted = (p.unsqueeze(2) * h.unsqueeze(1)).to(x.scalar_type()).view({x.size(0), experts * r});
    return latent_linear(x, weighted, b_.t(), scaling_, call.base, call.bias);
  }

  at::Tensor merged_weight(const FrozenLinear&) const override {
    throw InvalidArgument({.where = "lily", .what = "cannot be merged", .expected = "a method whose update does not depend on the input"});
  }

  NamedTensors parameters() const override { return {{"lily_A.weight", a_}, {"lily_B.weight", b_}, {"lily_router.weight", router_}}; }

 private:
  at::Tensor a_, b_, router_;
  double scaling_;
  Routing routing_;
};

/// What layers of one kind share, made when the first of them asks.
class SharedFactors {
 public:
  SharedFactors(const LilyConfig& config, at::Generator& random) : config_(config), random_(random) {}

  std::shared_ptr<LilyAdapter> next_adapter(const LinearSlot& slot) {
    const auto in = slot.base()->in_features(), out = slot.base()->out_features();
    auto& kind = kinds_[{target_of(slot.name()), in, out}];
    if (kind.layers % config_.stride_a == 0) kind.a = uniform_leaf({config_.rank, in}, random_);
    if (kind.layers++ == 0) kind.b = zero_leaf({config_.num_b * config_.rank, out});
    return std::make_shared<LilyAdapter>(kind.a, kind.b, uniform_leaf({config_.num_b, config_.rank}, random_), config_);
  }

 private:
  struct Kind {
    int64_t layers = 0;
    at::Tensor a, b;
  };

  /// The target that chose a layer: the longest name that it ends in; the layer's own last name for all-linear; else an expression.
  std::string target_of(const std::string& name) const {
    std::string longest, expression;
    for (const auto& target : config_.choice.targets) {
      const bool ending = name == target || name.ends_with("." + target);
      if (ending && target.size() > longest.size()) longest = target;
      if (!ending && expression.empty()) expression = target == "all-linear" ? name.substr(name.rfind('.') + 1) : target;
    }
    return longest.empty() ? expression : longest;
  }

  const LilyConfig& config_;
  at::Generator& random_;
  std::map<std::tuple<std::string, int64_t, int64_t>, Kind> kinds_;
};

class LilyAttachment final : public PublishedLayerAdapters {
 public:
  using PublishedLayerAdapters::PublishedLayerAdapters;

  /// A shared matrix stands there once, under the name that its first layer gives it.
  std::vector<TrainableGroup> trainable() const override {
    auto groups = LayerAdapters::trainable();
    std::set<const void*> seen;
    for (auto& group : groups) std::erase_if(group.parameters, [&](const auto& named) { return !seen.insert(named.second.unsafeGetTensorImpl()).second; });
    return groups;
  }
};

void check(const LilyConfig& config) {
  expect_range("method.rank", static_cast<double>(config.rank), 1, 65536);
  expect_range("method.stride_a", static_cast<double>(config.stride_a), 1, 65536);
  expect_range("method.num_b", static_cast<double>(config.num_b), 2, 65536);
}

nlohmann::json published_form(const LilyConfig& config) {
  nlohmann::json published = {{"peft_type", "LILY"},     {"r", config.rank},         {"stride_A", config.stride_a},  {"num_B", config.num_b},
                              {"scaling", config.scaling}, {"init_weights", true}, {"modules_to_save", nullptr}};
  if (config.routing == Routing::kToken) published["routing"] = "token";  // PEFT has no such mode
  return published;
}

std::unique_ptr<Attachment> attach(Places& places, const ConfigNode& section, const AttachContext& context) {
  const auto config = read_config<LilyConfig>(section);
  check(config);
  auto random = at::make_generator<at::CPUGeneratorImpl>(context.seed);
  SharedFactors shared(config, random);
  const auto make = [&](const LinearSlot& slot) { return shared.next_adapter(slot); };
  return std::make_unique<LilyAttachment>(places, config.choice, make, published_form(config));
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "LILY") return std::nullopt;
  nlohmann::json method = {{"name", "lily"},
                           {"rank", published_value<int64_t>(published, "r", 32)},
                           {"stride_a", published_value<int64_t>(published, "stride_A", 1)},
                           {"num_b", published_value<int64_t>(published, "num_B", 2)},
                           {"scaling", published_value(published, "scaling", 1.0)},
                           {"routing", published.value("routing", "batch")}};
  read_published_targets(published, method);
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec lily_method() {
  return {.name = "lily",
          .paper = "arXiv:2407.09946",
          .use_when = "layers have much in common and a larger rank for the same number of parameters is worth not being able to merge",
          .parameters = "per kind of L layers: r (in ceil(L / stride_a) + num_b (out + L))",
          .traits = {.identity_at_start = true, .mergeable = false, .exact_gradient = true},
          .attach = attach,
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<LilyConfig>(config), "method"); },
          .published = {.peft_type = "LILY",
                        .keys = {"r", "stride_A", "num_B", "scaling", "init_weights", "routing"},
                        .tensor_marks = {".lily_"}}};
}

}  // namespace graft::peft
