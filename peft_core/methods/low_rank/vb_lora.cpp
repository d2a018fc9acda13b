#include "peft_core/methods/low_rank/vb_lora.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "peft_core/base/config.h"
#include "peft_core/methods/low_rank/factor_adapter.h"
#include "peft_core/methods/low_rank/vector_mix.h"
#include "peft_core/methods/published_form.h"

namespace graft::peft {
namespace {

constexpr const char* kBank = "base_model.vblora_vector_bank";

struct VbLoraConfig {
  std::string name = "vb_lora";
  int64_t rank = 4;
  int64_t num_vectors = 256;
  int64_t vector_length = 0;
  int64_t topk = 2;
  double dropout = 0.0;
  LayerChoice choice;
  double init_vector_bank_bound = 0.02;
  double init_logits_std = 0.1;
  bool save_only_topk_weights = false;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("rank", rank, "inner size r of the update");
    v("num_vectors", num_vectors, "vectors in the bank that all layers share");
    v("vector_length", vector_length, "their length, a divisor of both sides of every layer; 0: the largest one up to 256");
    v("topk", topk, "vectors that are mixed for one piece");
    v("dropout", dropout, "probability of dropping an input of the update while training, in [0, 1)");
    choice.visit(v);
    v("init_vector_bank_bound", init_vector_bank_bound, "the bank starts uniform between minus this and this");
    v("init_logits_std", init_logits_std, "standard deviation of the logits at the start");
    v("save_only_topk_weights", save_only_topk_weights, "a small file, for use and merging only: it cannot be trained on");
  }
};

void check(const VbLoraConfig& config) {
  expect_range("method.rank", static_cast<double>(config.rank), 1, 65536);
  expect_range("method.num_vectors", static_cast<double>(config.num_vectors), 2, 0x1p30);
  expect_range("method.topk", static_cast<double>(config.topk), 1, static_cast<double>(config.num_vectors));
  expect_range("method.init_vector_bank_bound", config.init_vector_bank_bound, 1e-30, 1e30);
  expect_range("method.init_logits_std", config.init_logits_std, 0, 1e30);
  if (!(config.dropout >= 0 && config.dropout < 1))
    throw InvalidArgument({.where = "method.dropout", .what = "is out of range", .expected = "0 <= dropout < 1", .got = std::to_string(config.dropout)});
}

/// With the length settled: the one asked for, which has to divide all sides, or the largest up to 256 that does.
VbLoraConfig with_length(VbLoraConfig config, const Places& places) {
  int64_t common = 0;
  for (const auto* slot : chosen_slots(places, config.choice))
    for (const auto side : {slot->base()->in_features(), slot->base()->out_features()}) {
      common = std::gcd(common, side);
      if (config.vector_length > 0 && side % config.vector_length != 0)
        throw InvalidArgument({.where = "method.vector_length", .what = "does not divide a side of layer " + slot->name(),
                               .expected = "a divisor of " + std::to_string(side), .got = std::to_string(config.vector_length)});
    }
  if (config.vector_length < 0)
    throw InvalidArgument({.where = "method.vector_length", .what = "is out of range", .expected = "0 or more", .got = std::to_string(config.vector_length)});
  for (int64_t length = 256; config.vector_length == 0; --length)
    if (common % length == 0) config.vector_length = length;
  return config;
}

class VbLoraAdapter final : public FactorAdapter {
 public:
  /// `bank` (vectors, L), shared. With `only_choices` the mixes hold what such a file holds.
  VbLoraAdapter(const LinearSlot& slot, const VbLoraConfig& config, at::Tensor bank, at::Generator& random, bool only_choices)
      : name_(slot.name()),
        bank_(std::move(bank)),
        rank_(config.rank),
        dropout_(config.dropout),
        a_(mix({config.rank, slot.base()->in_features() / config.vector_length}, config, random, only_choices)),
        b_(mix({slot.base()->out_features() / config.vector_length, config.rank}, config, random, only_choices)) {}

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    if (call.context.training && !a_.trainable())
      throw InvalidArgument({.where = name_, .what = "comes from a file with only the top-k weights, which cannot be trained on",
                             .hint = "begin with an adapter that was saved with save_only_topk_weights: false"});
    return FactorAdapter::forward(x, call);
  }

  std::optional<LowRankUpdate> low_rank() const override {
    const auto a = a_.pieces(bank_).view({rank_, -1});                            // (r, in / L, L) -> (r, in)
    const auto b = b_.pieces(bank_).transpose(1, 2).reshape({-1, rank_});         // (out / L, r, L) -> (out, r)
    return LowRankUpdate{.a = a, .b = b, .scale = 1, .dropout = dropout_};
  }

  NamedTensors parameters() const override {
    if (!a_.trainable()) return {};
    return {{"vblora_logits_A", a_.logits()}, {"vblora_logits_B", b_.logits()}};
  }
  NamedTensors fixed() const override { return a_.trainable() ? NamedTensors{} : choices(); }

  NamedTensors choices() const {
    auto all = a_.choices("vblora_logits_A");
    for (auto& one : b_.choices("vblora_logits_B")) all.push_back(std::move(one));
    return all;
  }

 private:
  static VectorMix mix(std::vector<int64_t> sizes, const VbLoraConfig& config, at::Generator& random, bool only_choices) {
    if (only_choices) return VectorMix::of_choices(sizes, config.num_vectors, config.topk);
    sizes.push_back(config.num_vectors);
    return VectorMix::of_logits(at::empty(sizes, at::kFloat).normal_(0, config.init_logits_std, random).requires_grad_(), config.topk);
  }

  std::string name_;
  at::Tensor bank_;
  int64_t rank_;
  double dropout_;
  VectorMix a_, b_;
};

nlohmann::json published(const VbLoraConfig& config) {
  return {{"peft_type", "VBLORA"},
          {"r", config.rank},
          {"num_vectors", config.num_vectors},
          {"vector_length", config.vector_length},
          {"topk", config.topk},
          {"vblora_dropout", config.dropout},
          {"init_vector_bank_bound", config.init_vector_bank_bound},
          {"init_logits_std", config.init_logits_std},
          {"save_only_topk_weights", config.save_only_topk_weights},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"modules_to_save", nullptr}};
}

class VbLoraAttachment final : public PublishedLayerAdapters {
 public:
  static std::unique_ptr<Attachment> make(Places& places, const VbLoraConfig& config, const AttachContext& context) {
    auto random = at::make_generator<at::CPUGeneratorImpl>(context.seed);
    const double bound = config.init_vector_bank_bound;
    const auto bank = at::empty({config.num_vectors, config.vector_length}, at::kFloat).uniform_(-bound, bound, random).requires_grad_();
    const bool only_choices = context.restoring && config.save_only_topk_weights;
    return std::unique_ptr<Attachment>(new VbLoraAttachment(places, config, bank, random, only_choices));
  }

  std::vector<TrainableGroup> trainable() const override {
    auto groups = LayerAdapters::trainable();
    groups.push_back({.name = "vblora_vector_bank", .parameters = {{kBank, bank_}}});
    return groups;
  }

  AdapterState state() const override {
    auto state = LayerAdapters::state();
    state[kBank] = bank_;
    return state;
  }

  AdapterState saved_state() const override {
    if (!config_.save_only_topk_weights) return state();
    AdapterState saved = {{kBank, bank_}};
    for (size_t i = 0; i < slots().size(); ++i)
      for (const auto& [name, tensor] : static_cast<const VbLoraAdapter&>(*adapters()[i]).choices()) saved[slots()[i]->name() + "." + name] = tensor;
    return saved;
  }

 private:
  VbLoraAttachment(Places& places, const VbLoraConfig& config, const at::Tensor& bank, at::Generator& random, bool only_choices)
      : PublishedLayerAdapters(places, config.choice,
                               [&](const LinearSlot& slot) { return std::make_shared<VbLoraAdapter>(slot, config, bank, random, only_choices); },
                               published(config)),
        config_(config),
        bank_(bank) {}

  VbLoraConfig config_;
  at::Tensor bank_;
};

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "VBLORA") return std::nullopt;
  nlohmann::json method = {{"name", "vb_lora"},
                           {"rank", published_value(published, "r", 4)},
                           {"num_vectors", published_value(published, "num_vectors", 256)},
                           {"vector_length", published_value(published, "vector_length", 256)},
                           {"topk", published_value(published, "topk", 2)},
                           {"dropout", published_value(published, "vblora_dropout", 0.0)},
                           {"init_vector_bank_bound", published_value(published, "init_vector_bank_bound", 0.02)},
                           {"init_logits_std", published_value(published, "init_logits_std", 0.1)},
                           {"save_only_topk_weights", published_value(published, "save_only_topk_weights", false)}};
  read_published_targets(published, method);
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec vb_lora_method() {
  return {.name = "vb_lora",
          .paper = "arXiv:2405.15179",
          .use_when = "the smallest files of all low-rank methods: all layers share one bank of vectors",
          .parameters = "r V (in + out) / L per layer, and V L once; a file of top-k weights holds 2k - 1 numbers where it says V",
          .traits = {.identity_at_start = false, .mergeable = true, .exact_gradient = false},
          .attach = [](Places& places, const ConfigNode& config, const AttachContext& context) {
            const auto options = read_config<VbLoraConfig>(config);
            check(options);
            return VbLoraAttachment::make(places, with_length(options, places), context);
          },
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<VbLoraConfig>(config), "method"); },
          .published = {.peft_type = "VBLORA",
                        .keys = {"r", "num_vectors", "vector_length", "topk", "vblora_dropout", "init_vector_bank_bound", "init_logits_std",
                                 "save_only_topk_weights", "bias", "fan_in_fan_out"},
                        .tensor_marks = {".vblora_"}}};
}

}  // namespace graft::peft
