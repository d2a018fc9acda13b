#include "peft_core/methods/structured/miss.h"

#include <ATen/ATen.h>

#include "peft_core/base/config.h"
#include "peft_core/methods/dropout.h"
#include "peft_core/methods/structured/miss_op.h"
#include "peft_core/methods/published_form.h"
#include "peft_core/methods/start_values.h"

namespace graft::peft {
namespace {

enum class MissForm { kShared, kBat, kMini };
EnumNames<MissForm> config_names(MissForm) { return {{"true", MissForm::kShared}, {"bat", MissForm::kBat}, {"mini", MissForm::kMini}}; }

struct MissConfig {
  std::string name = "miss";
  int64_t rank = 64;
  double dropout = 0.0;
  int64_t mini_r = 1;
  MissForm init_weights = MissForm::kShared;
  LayerChoice choice;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("rank", rank, "inputs r of a block; 1 <= r <= in of every layer");
    v("dropout", dropout, "probability of dropping an input of the update while training, in [0, 1); not with bat");
    v("mini_r", mini_r, "with mini: outputs of the shared matrix; divides every layer's");
    v("init_weights", init_weights, "form of the update: true, one matrix shared by all blocks; mini, also along the outputs; bat, multiplied with W");
    choice.visit(v);
  }
};

/// Shared matrix, whole or "mini".
class SharedMissAdapter final : public Adapter {
 public:
  SharedMissAdapter(int64_t rank, int64_t width, double dropout) : block_(zero_leaf({rank, width})), dropout_(dropout) {}

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    const double dropout = call.context.training ? dropout_ : 0.0;
    return block_sum_linear(x, along_outputs(call.base->out_features()), call.base, call.bias, dropout, call.context.dropout_seed ^ call.slot_seed);
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override {
    const auto in = base.in_features(), r = block_.size(0);
    const auto shared = along_outputs(base.out_features()).detach().t();
    return base.weight().add_(shared.repeat({1, (in + r - 1) / r}).narrow(1, 0, in));
  }

  NamedTensors parameters() const override { return {{"miss_block", block_}}; }

 private:
  at::Tensor along_outputs(int64_t out) const { return block_.size(1) == out ? block_ : block_.repeat({1, out / block_.size(1)}); }

  at::Tensor block_;  // (r, out) or (r, mini_r)
  double dropout_;
};

class BatAdapter final : public Adapter {
 public:
  BatAdapter(int64_t rank, int64_t out) : blocks_(zero_leaf({out / rank, rank, rank})) {}

  // The update is beside the frozen product and not in its weight, so that zero blocks change no bit.
  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    return frozen_linear(x, call.base, call.bias) + block_update_product(x, blocks_, call.base);
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override {
    auto weight = base.weight();
    return weight + block_update(weight, blocks_.detach());
  }

  NamedTensors parameters() const override { return {{"miss_block", blocks_}}; }

 private:
  at::Tensor blocks_;  // (out / r, r, r)
};

void refuse_layer(const char* key, const LinearSlot& slot, const std::string& expected, int64_t got) {
  throw InvalidArgument({.where = key, .what = "does not fit layer " + slot.name(), .expected = expected, .got = std::to_string(got)});
}

std::shared_ptr<Adapter> make_adapter(const LinearSlot& slot, const MissConfig& config) {
  const auto in = slot.base()->in_features(), out = slot.base()->out_features(), r = config.rank;
  expect_rank(r, slot, in, "in");
  if (config.init_weights == MissForm::kBat) {
    if (in % r != 0 || out % r != 0) refuse_layer("method.rank", slot, "with bat a divisor of " + std::to_string(in) + " and " + std::to_string(out), r);
    return std::make_shared<BatAdapter>(r, out);
  }
  const bool mini = config.init_weights == MissForm::kMini;
  if (mini && (config.mini_r < 1 || out % config.mini_r != 0))
    refuse_layer("method.mini_r", slot, "a divisor of out = " + std::to_string(out), config.mini_r);
  return std::make_shared<SharedMissAdapter>(r, mini ? config.mini_r : out, config.dropout);
}

nlohmann::json published_form(const MissConfig& config) {
  return {{"peft_type", "MISS"},
          {"r", config.rank},
          {"miss_dropout", config.dropout},
          {"mini_r", config.mini_r},
          {"init_weights", start_to_publish(enum_name(config.init_weights))},
          {"bias", "none"},
          {"modules_to_save", nullptr}};
}

std::unique_ptr<Attachment> attach(Places& places, const ConfigNode& node, const AttachContext&) {
  const auto config = read_config<MissConfig>(node);
  expect_dropout(config.dropout);
  if (config.init_weights == MissForm::kBat && config.dropout > 0)
    throw InvalidArgument({.where = "method.dropout", .what = "has no meaning with init_weights bat", .expected = "0"});
  const auto make = [&](const LinearSlot& slot) { return make_adapter(slot, config); };
  return std::make_unique<PublishedLayerAdapters>(places, config.choice, make, published_form(config));
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  auto section = published_section(published, "MISS", "miss");
  if (!section) return std::nullopt;
  read_published(published, "r", *section, "rank", 64);
  read_published(published, "miss_dropout", *section, "dropout", 0.0);
  read_published(published, "mini_r", *section, "mini_r", 1);
  (*section)["init_weights"] = published_start(published);
  if ((*section)["init_weights"] == "bat") (*section)["dropout"] = 0.0;  // PEFT's bat takes no notice of it
  return ConfigNode::parse(section->dump(), "adapter_config.json");
}

}  // namespace

MethodSpec miss_method() {
  return {.name = "miss",
          .paper = "arXiv:2409.15371",
          .use_when = "lora's strength at less memory and time: one matrix instead of two, and x need not be kept",
          .parameters = "r out per layer; r mini_r with mini",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = attach,
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<MissConfig>(config), "method"); },
          .published = {.peft_type = "MISS", .keys = {"r", "miss_dropout", "mini_r", "init_weights", "bias"}, .tensor_marks = {".miss_"}}};
}

}  // namespace graft::peft
