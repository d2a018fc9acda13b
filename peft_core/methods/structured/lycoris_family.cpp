#include "peft_core/methods/structured/lycoris_family.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "peft_core/base/config.h"
#include "peft_core/methods/dropout.h"
#include "peft_core/methods/published_form.h"

namespace graft::peft {
namespace {

void expect_rank(int64_t rank) { expect_range("method.rank", static_cast<double>(rank), 1, 65536); }

/// `own`: the keys that only one of the methods has.
nlohmann::json published_form(const LycorisConfig& config, nlohmann::json own) {
  own.update({{"r", config.rank},
              {"alpha", config.alpha},
              {"rank_dropout", config.rank_dropout},
              {"module_dropout", config.module_dropout},
              {"rank_pattern", config.rank_pattern},
              {"alpha_pattern", config.alpha_pattern},
              {"use_effective_conv2d", false},
              {"modules_to_save", nullptr}});
  return own;
}

class LycorisAttachment final : public PublishedLayerAdapters {
 public:
  LycorisAttachment(Places& places, const LycorisConfig& config, const Make& make, nlohmann::json own)
      : PublishedLayerAdapters(places, config.choice, make, published_form(config, std::move(own))), layers_fall_out_(config.module_dropout > 0) {}

  bool parts_may_rest() const override { return layers_fall_out_; }

 private:
  bool layers_fall_out_;
};

}  // namespace

at::Tensor UpdateDropout::draw(int64_t out, const SlotCall& call, at::Device device) const {
  if (!call.context.training || (outputs == 0 && layer == 0)) return {};
  auto random = at::make_generator<at::CPUGeneratorImpl>(call.context.dropout_seed ^ call.slot_seed);
  const bool drops_layer = at::rand({1}, random, at::TensorOptions(at::kFloat)).item<double>() < layer;
  auto kept = at::empty({out}, at::kFloat).bernoulli_(drops_layer ? 0.0 : 1.0 - outputs, random);
  const double share = kept.mean().item<double>();
  return (rescale && share > 0 ? kept.div_(share) : kept).to(device);
}

std::unique_ptr<Attachment> attach_lycoris(Places& places, const LycorisConfig& config, uint64_t seed, const MakeLycoris& make,
                                           nlohmann::json published) {
  expect_dropout(config.rank_dropout, "rank_dropout");
  expect_dropout(config.module_dropout, "module_dropout");
  expect_rank(config.rank);
  Patterns ranks(config.rank_pattern, "method.rank_pattern");
  Patterns alphas(config.alpha_pattern, "method.alpha_pattern");
  for (const auto* slot : chosen_slots(places, config.choice)) {
    expect_rank(ranks.value_for(slot->name(), config.rank));
    alphas.value_for(slot->name(), config.alpha);
  }
  ranks.expect_all_used();
  alphas.expect_all_used();
  auto random = at::make_generator<at::CPUGeneratorImpl>(seed);
  const auto make_one = [&](const LinearSlot& slot) {
    const auto rank = ranks.value_for(slot.name(), config.rank);
    return make({*slot.base(), rank, alphas.value_for(slot.name(), config.alpha) / static_cast<double>(rank), random});
  };
  return std::make_unique<LycorisAttachment>(places, config, make_one, std::move(published));
}

std::optional<nlohmann::json> lycoris_from_published(const nlohmann::json& published, const std::string& peft_type, const std::string& name) {
  auto section = published_section(published, peft_type, name);
  if (!section) return section;
  read_published(published, "r", *section, "rank", 8);
  read_published(published, "alpha", *section, "alpha", 8.0);
  read_published(published, "rank_dropout", *section, "rank_dropout", 0.0);
  read_published(published, "module_dropout", *section, "module_dropout", 0.0);
  read_published_patterns(published, *section);
  return section;
}

std::vector<std::string> lycoris_published_keys() {
  return {"r", "alpha", "rank_dropout", "module_dropout", "use_effective_conv2d", "init_weights", "rank_pattern", "alpha_pattern"};
}

}  // namespace graft::peft
