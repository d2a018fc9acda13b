#include "peft_core/methods/low_rank/randlora.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "peft_core/base/config.h"
#include "peft_core/methods/low_rank/factor_adapter.h"
#include "peft_core/methods/low_rank/randlora_bases.h"
#include "peft_core/methods/published_form.h"

namespace graft::peft {
namespace {

struct RandloraConfig {
  std::string name = "randlora";
  int64_t rank = 32;
  double alpha = 640.0;
  double dropout = 0.0;
  LayerChoice choice;
  int64_t projection_prng_key = 0;
  bool save_projection = true;
  bool sparse = false, very_sparse = false;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("rank", rank, "columns r of a random basis; a smaller one takes more bases and more parameters");
    v("alpha", alpha, "the update is scaled by alpha / r");
    v("dropout", dropout, "probability of dropping an input of the update while training, in [0, 1)");
    choice.visit(v);
    v("projection_prng_key", projection_prng_key, "seed of the shared random bases");
    v("save_projection", save_projection, "write the bases into the adapter's file; without them they are made again from the key");
    v("sparse", sparse, "bases of -1, 0 and 1, two thirds of them 0");
    v("very_sparse", very_sparse, "bases of -1, 0 and 1, all but 1 in sqrt(m) of them 0, m the smaller side of the widest layer");
  }
};

void check(const RandloraConfig& config) {
  expect_range("method.rank", static_cast<double>(config.rank), 1, 65536);
  expect_range("method.projection_prng_key", static_cast<double>(config.projection_prng_key), 0, 0x1p53);
  if (!(config.dropout >= 0 && config.dropout < 1))
    throw InvalidArgument({.where = "method.dropout", .what = "is out of range", .expected = "0 <= dropout < 1", .got = std::to_string(config.dropout)});
}

std::shared_ptr<const RandloraBases> make_bases(const Places& places, const RandloraConfig& config) {
  int64_t in = 0, out = 0;
  for (const auto* slot : chosen_slots(places, config.choice))
    in = std::max(in, slot->base()->in_features()), out = std::max(out, slot->base()->out_features());
  const auto kind = config.very_sparse ? RandloraBases::Kind::kVerySparse : config.sparse ? RandloraBases::Kind::kSparse : RandloraBases::Kind::kDense;
  return std::make_shared<RandloraBases>(config.rank, std::min(in, out), std::max(in, out), kind, static_cast<uint64_t>(config.projection_prng_key));
}

class RandloraAdapter final : public FactorAdapter {
 public:
  RandloraAdapter(const FrozenLinear& base, const RandloraConfig& config, std::shared_ptr<const RandloraBases> shared)
      : shared_(std::move(shared)),
        in_(base.in_features()),
        out_(base.out_features()),
        scale_(config.alpha / static_cast<double>(config.rank)),
        dropout_(config.dropout) {
    const auto smaller = std::min(in_, out_), bases = randlora_base_count(smaller, config.rank);
    lambda_ = at::zeros({config.rank, bases}, at::kFloat).requires_grad_();
    gamma_ = at::full({bases, smaller}, 1 / static_cast<double>(std::max(bases, smaller)), at::kFloat).requires_grad_();
  }

  /// The trained vectors scale A, and the bases B stay a constant. Rows of A come rank by rank and columns of B basis by basis: so PEFT pairs
  /// them.
  std::optional<LowRankUpdate> low_rank() const override {
    const auto smaller = gamma_.size(1), bases = gamma_.size(0);
    const auto factors = lambda_.unsqueeze(2) * gamma_.unsqueeze(0);  // (r, bases, smaller), made first: A need not be kept for its gradient
    const auto narrow = (factors * shared_->a().narrow(2, 0, smaller)).view({-1, smaller});
    const auto wide = shared_->wide(std::max(in_, out_), bases);
    if (in_ <= out_) return LowRankUpdate{.a = narrow, .b = wide, .scale = scale_, .dropout = dropout_};
    return LowRankUpdate{.a = wide.t(), .b = narrow.t(), .scale = scale_, .dropout = dropout_};
  }

  NamedTensors parameters() const override { return {{"randlora_gamma", gamma_}, {"randlora_lambda", lambda_}}; }

 private:
  std::shared_ptr<const RandloraBases> shared_;
  at::Tensor lambda_, gamma_;
  int64_t in_, out_;
  double scale_, dropout_;
};

nlohmann::json published(const RandloraConfig& config) {
  return {{"peft_type", "RANDLORA"},
          {"r", config.rank},
          {"randlora_alpha", config.alpha},
          {"randlora_dropout", config.dropout},
          {"projection_prng_key", config.projection_prng_key},
          {"save_projection", config.save_projection},
          {"sparse", config.sparse},
          {"very_sparse", config.very_sparse},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"init_weights", true},
          {"modules_to_save", nullptr}};
}

class RandloraAttachment final : public PublishedLayerAdapters {
 public:
  RandloraAttachment(Places& places, const RandloraConfig& config) : RandloraAttachment(places, config, make_bases(places, config)) {}

  AdapterState state() const override {
    auto state = LayerAdapters::state();
    if (save_bases_) state["base_model.randlora_A"] = shared_->a(), state["base_model.randlora_B"] = shared_->b();
    return state;
  }

 private:
  RandloraAttachment(Places& places, const RandloraConfig& config, const std::shared_ptr<const RandloraBases>& shared)
      : PublishedLayerAdapters(places, config.choice,
                               [&](const LinearSlot& slot) { return std::make_shared<RandloraAdapter>(*slot.base(), config, shared); },
                               published(config)),
        save_bases_(config.save_projection),
        shared_(shared) {}

  bool save_bases_;
  std::shared_ptr<const RandloraBases> shared_;
};

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "RANDLORA") return std::nullopt;
  nlohmann::json method = {{"name", "randlora"},
                           {"rank", published_value(published, "r", 32)},
                           {"alpha", published_value(published, "randlora_alpha", 640.0)},
                           {"dropout", published_value(published, "randlora_dropout", 0.0)},
                           {"projection_prng_key", published_value(published, "projection_prng_key", int64_t{0})},
                           {"save_projection", published_value(published, "save_projection", true)},
                           {"sparse", published_value(published, "sparse", false)},
                           {"very_sparse", published_value(published, "very_sparse", false)}};
  read_published_targets(published, method);
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec randlora_method() {
  return {.name = "randlora",
          .paper = "arXiv:2502.00987",
          .use_when = "an update of full rank is wanted with lora's number of parameters, and time is no matter",
          .parameters = "n (r + m) per layer, m = min(in, out), n = ceil(m / r)",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = [](Places& places, const ConfigNode& config, const AttachContext&) -> std::unique_ptr<Attachment> {
            const auto options = read_config<RandloraConfig>(config);
            check(options);
            return std::make_unique<RandloraAttachment>(places, options);
          },
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<RandloraConfig>(config), "method"); },
          .published = {.peft_type = "RANDLORA",
                        .keys = {"r", "randlora_alpha", "randlora_dropout", "projection_prng_key", "save_projection", "sparse", "very_sparse", "bias",
                                 "fan_in_fan_out", "init_weights"},
                        .tensor_marks = {".randlora_"}}};
}

}  // namespace graft::peft
