#include "peft_core/methods/structured/shira.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/methods/dense_update.h"
#include "peft_core/methods/published_form.h"
#include "peft_core/methods/start_values.h"
#include "peft_core/slots/slot_seed.h"

namespace graft::peft {
namespace {

struct ShiraConfig {
  std::string name = "shira";
  int64_t rank = 16;
  std::optional<int64_t> random_seed;
  LayerChoice choice;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("rank", rank, "r (in + out) elements of each weight are trained, as many numbers as lora's at rank r");
    v("random_seed", random_seed, "decides the elements, the same for all layers of one size; null: the run's seed, others for each layer");
    choice.visit(v);
  }
};

/// Row and column of n elements of a weight in the weight's order: the first n of torch.randperm(out · in), as Hugging Face PEFT draws them.
at::Tensor random_places(int64_t out, int64_t in, int64_t n, uint64_t seed) {
  const auto drawn = at::randperm(out * in, at::make_generator<at::CPUGeneratorImpl>(seed), at::kLong).slice(0, 0, n);
  const auto ordered = std::get<0>(drawn.sort());
  return at::stack({ordered.div(in, "floor"), ordered.remainder(in)}).to(at::kInt);
}

/// D from its values. A place that a file names twice counts twice, as in PEFT.
at::Tensor dense(const at::Tensor& values, const at::Tensor& flat_places, int64_t out, int64_t in) {
  return at::zeros({out * in}, values.options().requires_grad(false)).index_add(0, flat_places, values).view({out, in});
}

/// Making D costs as much as some ten rows of a product with it; so a text that is written token by token goes without.
constexpr int64_t kFewRows = 8;

class ShiraAdapter final : public Adapter {
 public:
  ShiraAdapter(const FrozenLinear& base, at::Tensor places)
      : out_(base.out_features()), in_(base.in_features()), places_(std::move(places)), values_(zero_leaf({places_.size(1)})) {}

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    if (x.size(0) <= kFewRows) return frozen_linear(x, call.base, call.bias) + by_elements(x).to(x.scalar_type());
    const auto make = [flat = flat_places(), out = out_, in = in_](const std::vector<at::Tensor>& leaves) { return dense(leaves[0], flat, out, in); };
    return dense_update_linear(x, {values_}, make, call.base, call.bias);
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override { return base.weight().add_(dense(values_.detach(), flat_places(), out_, in_)); }

  NamedTensors parameters() const override { return {{"shira_weight", values_}}; }
  NamedTensors fixed() const override { return {{"shira_indices", places_}}; }

 private:
  at::Tensor rows() const { return places_.select(0, 0).to(at::kLong); }
  at::Tensor columns() const { return places_.select(0, 1).to(at::kLong); }

  /// The places may have been read from a file since the last call.
  at::Tensor flat_places() const {
    const auto r = rows(), c = columns();
    const bool inside = ((r >= 0) & (r < out_) & (c >= 0) & (c < in_)).all().item<bool>();
    if (!inside)
      throw InvalidArgument({.where = "shira_indices", .what = "name an element outside the weight",
                             .expected = "rows below " + std::to_string(out_) + ", columns below " + std::to_string(in_)});
    return r * in_ + c;
  }

  at::Tensor by_elements(const at::Tensor& x) const {
    flat_places();
    const auto terms = x.to(at::kFloat).index_select(1, columns()) * values_;
    return at::zeros({x.size(0), out_}, terms.options().requires_grad(false)).index_add(1, rows(), terms);
  }

  int64_t out_, in_;
  at::Tensor places_, values_;
};

nlohmann::json published_form(const ShiraConfig& config) {
  const auto seed = config.random_seed.has_value() ? nlohmann::json(*config.random_seed) : nlohmann::json();
  return {{"peft_type", "SHIRA"}, {"r", config.rank},      {"mask_type", "random"},    {"random_seed", seed},
          {"init_weights", true}, {"fan_in_fan_out", false}, {"modules_to_save", nullptr}};
}

std::unique_ptr<Attachment> attach(Places& places, const ConfigNode& section, const AttachContext& context) {
  const auto config = read_config<ShiraConfig>(section);
  expect_range("method.rank", static_cast<double>(config.rank), 1, 65536);
  const auto make = [&](const LinearSlot& slot) {
    const auto in = slot.base()->in_features(), out = slot.base()->out_features(), n = config.rank * (in + out);
    if (n > in * out)
      throw InvalidArgument({.where = "method.rank", .what = "trains more elements than layer " + slot.name() + " has",
                             .expected = "1.." + std::to_string(in * out / (in + out)), .got = std::to_string(config.rank)});
    const auto seed = config.random_seed.has_value() ? static_cast<uint64_t>(*config.random_seed) : context.seed ^ slot_seed(slot.name());
    return std::make_shared<ShiraAdapter>(*slot.base(), context.restoring ? at::zeros({2, n}, at::kInt) : random_places(out, in, n, seed));
  };
  return std::make_unique<PublishedLayerAdapters>(places, config.choice, make, published_form(config));
}

/// Files of any mask_type: the places stand in them.
std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "SHIRA") return std::nullopt;
  refuse_set(published, {"fan_in_fan_out"});
  nlohmann::json method = {{"name", "shira"}, {"rank", published_value<int64_t>(published, "r", 32)}};
  if (const auto found = published.find("random_seed"); found != published.end() && !found->is_null()) method["random_seed"] = *found;
  read_published_targets(published, method);
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec shira_method() {
  return {.name = "shira",
          .paper = "arXiv:2406.13175",
          .use_when = "several adapters are to be added to one model without disturbing each other: each changes a few percent of the elements",
          .parameters = "r (in + out) per layer",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = attach,
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<ShiraConfig>(config), "method"); },
          .published = {.peft_type = "SHIRA",
                        .keys = {"r", "mask_type", "random_seed", "init_weights", "fan_in_fan_out"},
                        .tensor_marks = {".shira_"}}};
}

}  // namespace graft::peft
