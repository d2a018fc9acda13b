#include "peft_core/methods/low_rank/lora.h"

#include "peft_core/base/config.h"
#include "peft_core/methods/low_rank/lora_adapter.h"

namespace graft::peft {

MethodSpec lora_method() {
  return {.name = "lora",
          .paper = "arXiv:2106.09685",
          .use_when = "the default: strong, small, merges into the weights without a trace",
          .parameters = "r (in + out) per layer",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = [](Places& places, const ConfigNode& config, const AttachContext& context) -> std::unique_ptr<Attachment> {
            return attach_lora_family(places, read_config<LoraConfig>(config), context.seed,
                                      {.make = [](const LoraLayer& layer) { return std::make_shared<LoraAdapter>(LoraFactors(layer), layer); }});
          },
          .from_published = [](const nlohmann::json& published) { return lora_from_published(published, "lora"); },
          .resolved = [](const ConfigNode& config) { return write_config(read_config<LoraConfig>(config), "method"); },
          .published = lora_published_form()};
}

}  // namespace graft::peft
