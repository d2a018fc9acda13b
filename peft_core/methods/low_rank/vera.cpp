#include "peft_core/methods/low_rank/vera.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "peft_core/base/config.h"
#include "peft_core/methods/dropout.h"
#include "peft_core/methods/layer_adapters.h"
#include "peft_core/methods/low_rank/factor_adapter.h"

namespace graft::peft {
namespace {

struct VeraConfig {
  std::string name = "vera";
  int64_t rank = 256;
  double d_initial = 0.1;
  double dropout = 0.0;
  LayerChoice choice;
  int64_t projection_prng_key = 0;
  bool save_projection = true;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("rank", rank, "inner size r of the shared projections; a parameter of rank costs one number a layer, so it may be large");
    v("d_initial", d_initial, "value of every lambda_d at the start");
    v("dropout", dropout, "probability of dropping an input of the update while training, in [0, 1)");
    choice.visit(v);
    v("projection_prng_key", projection_prng_key, "seed of the shared random projections");
    v("save_projection", save_projection, "write the projections into the adapter's file; without them they are made again from the key");
  }
};

void check(const VeraConfig& config) {
  expect_range("method.rank", static_cast<double>(config.rank), 1, 65536);
  expect_range("method.projection_prng_key", static_cast<double>(config.projection_prng_key), 0, 0x1p53);
  expect_dropout(config.dropout);
}

/// The pair that all layers share; as wide as the widest needs.
struct VeraProjections {
  at::Tensor a;  ///< (r, largest in)
  at::Tensor b;  ///< (largest out, r)
};

/// Uniform with the variance 2 / columns, drawn as PEFT draws it.
at::Tensor kaiming_uniform(int64_t rows, int64_t columns, at::Generator& random) {
  const double bound = std::sqrt(3.0) * (std::sqrt(2.0) / std::sqrt(static_cast<double>(columns)));
  return at::empty({rows, columns}, at::kFloat).uniform_(-bound, bound, random);
}

std::shared_ptr<const VeraProjections> make_projections(const Places& places, const VeraConfig& config) {
  int64_t in = 0, out = 0;
  for (const auto* slot : chosen_slots(places, config.choice))
    in = std::max(in, slot->base()->in_features()), out = std::max(out, slot->base()->out_features());
  auto random = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(config.projection_prng_key));
  auto a = kaiming_uniform(config.rank, in, random);  // A is drawn before B
  return std::make_shared<VeraProjections>(VeraProjections{a, kaiming_uniform(out, config.rank, random)});
}

class VeraAdapter final : public FactorAdapter {
 public:
  VeraAdapter(const FrozenLinear& base, const VeraConfig& config, std::shared_ptr<const VeraProjections> shared)
      : shared_(std::move(shared)),
        lambda_d_(at::full({config.rank}, config.d_initial, at::kFloat).requires_grad_()),
        lambda_b_(at::zeros({base.out_features()}, at::kFloat).requires_grad_()),
        in_(base.in_features()),
        dropout_(config.dropout) {}

  /// Both vectors on the side of B leave A frozen, which saves a gradient product. The outer product comes first: then B is all that has to be
  /// kept beside the vectors.
  std::optional<LowRankUpdate> low_rank() const override {
    const auto up = at::outer(lambda_b_, lambda_d_) * shared_->b.narrow(0, 0, lambda_b_.size(0));
    return LowRankUpdate{.a = shared_->a.narrow(1, 0, in_), .b = up, .scale = 1, .dropout = dropout_};
  }

  NamedTensors parameters() const override { return {{"vera_lambda_b", lambda_b_}, {"vera_lambda_d", lambda_d_}}; }

 private:
  std::shared_ptr<const VeraProjections> shared_;
  at::Tensor lambda_d_, lambda_b_;
  int64_t in_;
  double dropout_;
};

class VeraAttachment final : public LayerAdapters {
 public:
  VeraAttachment(Places& places, const VeraConfig& config) : VeraAttachment(places, config, make_projections(places, config)) {}

  AdapterState state() const override {
    auto state = LayerAdapters::state();
    if (config_.save_projection) state["base_model.vera_A"] = shared_->a, state["base_model.vera_B"] = shared_->b;
    return state;
  }

  nlohmann::json published_config() const override {
    return {{"peft_type", "VERA"},
            {"r", config_.rank},
            {"d_initial", config_.d_initial},
            {"vera_dropout", config_.dropout},
            {"target_modules", published_targets()},
            {"projection_prng_key", config_.projection_prng_key},
            {"save_projection", config_.save_projection},
            {"bias", "none"},
            {"fan_in_fan_out", false},
            {"init_weights", true},
            {"modules_to_save", nullptr}};
  }

 private:
  VeraAttachment(Places& places, const VeraConfig& config, const std::shared_ptr<const VeraProjections>& shared)
      : LayerAdapters(places, config.choice, [&](const LinearSlot& slot) { return std::make_shared<VeraAdapter>(*slot.base(), config, shared); }),
        config_(config),
        shared_(shared) {}

  VeraConfig config_;
  std::shared_ptr<const VeraProjections> shared_;
};

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "VERA") return std::nullopt;
  nlohmann::json method = {{"name", "vera"},
                           {"rank", published.value("r", 256)},
                           {"d_initial", published.value("d_initial", 0.1)},
                           {"dropout", published.value("vera_dropout", 0.0)},
                           {"projection_prng_key", published.value("projection_prng_key", int64_t{0})},
                           {"save_projection", published.value("save_projection", true)}};
  read_published_targets(published, method);
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec vera_method() {
  return {.name = "vera",
          .paper = "arXiv:2310.11454",
          .use_when = "many adapters have to be kept: a tenth of lora's parameters and less, for more time a step",
          .parameters = "out + r per layer",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = [](Places& places, const ConfigNode& config, const AttachContext&) -> std::unique_ptr<Attachment> {
            const auto options = read_config<VeraConfig>(config);
            check(options);
            return std::make_unique<VeraAttachment>(places, options);
          },
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<VeraConfig>(config), "method"); },
          .published = {.peft_type = "VERA",
                        .keys = {"r", "d_initial", "vera_dropout", "projection_prng_key", "save_projection", "bias", "fan_in_fan_out", "init_weights"},
                        .tensor_marks = {".vera_"}}};
}

}  // namespace graft::peft
