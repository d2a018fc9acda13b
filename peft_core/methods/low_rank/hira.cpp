#include "peft_core/methods/low_rank/hira.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/methods/dense_update.h"
#include "peft_core/methods/dropout.h"
#include "peft_core/methods/published_form.h"
#include "peft_core/methods/start_values.h"

namespace graft::peft {
namespace {

enum class Start { kUniform, kGaussian };
EnumNames<Start> config_names(Start) { return {{"uniform", Start::kUniform}, {"gaussian", Start::kGaussian}}; }

struct HiraConfig {
  std::string name = "hira";
  int64_t rank = 32;
  double dropout = 0.0;
  Start init = Start::kUniform;
  LayerChoice choice;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("rank", rank, "rank r of the matrix that the weight is multiplied with; 1 <= r <= min(in, out) of every layer");
    v("dropout", dropout, "probability of dropping an input of the update while training, in [0, 1)");
    v("init", init, "start of A: uniform in ±1/√in, or gaussian with deviation 1 / r");
    choice.visit(v);
  }
};

/// Rows of the base's product up to which r products with W are cheaper than making W ⊙ B A.
constexpr int64_t kFewRows = 128;

class HiraAdapter final : public Adapter {
 public:
  HiraAdapter(const FrozenLinear& base, const HiraConfig& config, at::Generator& random)
      : a_(uniform_leaf({config.rank, base.in_features()}, random)), b_(zero_leaf({base.out_features(), config.rank})), dropout_(config.dropout) {
    if (config.init == Start::kGaussian) a_.detach().normal_(0, 1.0 / static_cast<double>(config.rank), random);
  }

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    const double dropout = call.context.training ? dropout_ : 0.0;
    const auto seed = call.context.dropout_seed ^ call.slot_seed;
    if (x.size(0) * a_.size(0) <= kFewRows)
      return frozen_linear(x, call.base, call.bias) + by_products(with_dropout(x, dropout, seed), call.base).to(x.scalar_type());
    const auto make = [base = call.base](const std::vector<at::Tensor>& leaves) {
      return base->rows(0, base->out_features(), at::kFloat, leaves[0].device()) * at::mm(leaves[1], leaves[0]);
    };
    return dense_update_linear(x, {a_, b_}, make, call.base, call.bias, dropout, seed);
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override {
    auto weight = base.weight();
    return weight.addcmul_(weight.clone(), at::mm(b_.detach(), a_.detach()));
  }

  NamedTensors parameters() const override { return {{"hira_A", a_}, {"hira_B", b_}}; }

 private:
  /// (W ⊙ B A) x = Σ_k b_k ⊙ (W (a_k ⊙ x)): N r rows of one product with W as it is stored, summed in fp32.
  at::Tensor by_products(const at::Tensor& x, const std::shared_ptr<const FrozenLinear>& base) const {
    const auto rows = (x.unsqueeze(1) * a_).to(x.scalar_type()).view({-1, x.size(1)});
    const auto products = frozen_linear(rows, base, {}).view({x.size(0), a_.size(0), -1});
    return (products * b_.t()).sum({1});
  }

  at::Tensor a_, b_;
  double dropout_;
};

nlohmann::json published_form(const HiraConfig& config) {
  const auto init = config.init == Start::kGaussian ? nlohmann::json("gaussian") : nlohmann::json(true);
  return {{"peft_type", "HIRA"},
          {"r", config.rank},
          {"hira_dropout", config.dropout},
          {"init_weights", init},
          {"fan_in_fan_out", false},
          {"modules_to_save", nullptr}};
}

std::unique_ptr<Attachment> attach(Places& places, const ConfigNode& section, const AttachContext& context) {
  const auto config = read_config<HiraConfig>(section);
  expect_range("method.rank", static_cast<double>(config.rank), 1, 65536);
  expect_dropout(config.dropout);
  auto random = at::make_generator<at::CPUGeneratorImpl>(context.seed);
  const auto make = [&](const LinearSlot& slot) {
    expect_rank(config.rank, slot);
    return std::make_shared<HiraAdapter>(*slot.base(), config, random);
  };
  return std::make_unique<PublishedLayerAdapters>(places, config.choice, make, published_form(config));
}

/// PEFT 0.21.2 writes rank_pattern and makes every layer of rank r all the same, so there is nothing in it to read.
std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "HIRA") return std::nullopt;
  refuse_set(published, {"fan_in_fan_out"});
  const bool gaussian = published.value("init_weights", nlohmann::json(true)) == "gaussian";
  nlohmann::json method = {{"name", "hira"},
                           {"rank", published_value<int64_t>(published, "r", 32)},
                           {"dropout", published_value(published, "hira_dropout", 0.0)},
                           {"init", gaussian ? "gaussian" : "uniform"}};
  read_published_targets(published, method);
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec hira_method() {
  return {.name = "hira",
          .paper = "ICLR 2025, openreview TwJrTz9cRS",
          .use_when = "an update of full rank is wanted and the base is dense and not too large: W is needed element by element",
          .parameters = "r (in + out) per layer",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = attach,
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<HiraConfig>(config), "method"); },
          .published = {.peft_type = "HIRA",
                        .keys = {"r", "hira_dropout", "rank_pattern", "init_weights", "fan_in_fan_out"},
                        .tensor_marks = {".hira_"}}};
}

}  // namespace graft::peft
