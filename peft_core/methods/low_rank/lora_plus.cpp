#include "peft_core/methods/low_rank/lora_plus.h"

#include "peft_core/methods/low_rank/lora_adapter.h"
#include "peft_core/methods/low_rank/method_section.h"

namespace graft::peft {
namespace {

struct LoraPlusConfig {
  LoraConfig lora{.name = "lora_plus", .choice = {}, .rank_pattern = {}, .alpha_pattern = {}};
  double learning_rate_ratio = 16;

  template <class Visitor>
  void visit(Visitor& v) {
    lora.visit(v);
    v("learning_rate_ratio", learning_rate_ratio, "learning rate of B over that of A");
  }
};

LoraPlusConfig read(const ConfigNode& section) {
  auto config = read_config<LoraPlusConfig>(section);
  expect_range("method.learning_rate_ratio", config.learning_rate_ratio, 1e-3, 1e3);
  return config;
}

}  // namespace

MethodSpec lora_plus_method() {
  return {.name = "lora_plus",
          .paper = "arXiv:2402.12354",
          .use_when = "lora learns too slowly in wide models",
          .parameters = "r (in + out) per layer",
          .traits = {},
          .attach = [](Places& places, const ConfigNode& section, const AttachContext& context) -> std::unique_ptr<Attachment> {
            const auto config = read(section);
            return attach_lora_family(places, config.lora, context.seed,
                                      {.make = [](const LoraLayer& layer) { return std::make_shared<LoraAdapter>(LoraFactors(layer), layer); },
                                       .describe = [own = JsonSection::of(config)](nlohmann::json& published) { published[kOwnSection] = own; },
                                       .b_learning_rate_factor = config.learning_rate_ratio});
          },
          .from_published = [](const nlohmann::json& published) { return lora_from_published(published, "lora_plus"); },
          .resolved = [](const ConfigNode& section) { return write_config(read(section), "method"); },
          .published = lora_published_form()};
}

}  // namespace graft::peft
