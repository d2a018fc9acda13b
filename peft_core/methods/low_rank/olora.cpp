#include "peft_core/methods/low_rank/olora.h"

#include <ATen/ATen.h>

#include "peft_core/methods/low_rank/method_section.h"
#include "peft_core/methods/low_rank/residual_start.h"

namespace graft::peft {
namespace {

struct OloraConfig {
  LoraConfig lora{.name = "olora", .choice = {}, .rank_pattern = {}, .alpha_pattern = {}};
  SavedAs saved_as = SavedAs::kLora;

  template <class Visitor>
  void visit(Visitor& v) {
    lora.visit(v);
    v("saved_as", saved_as, "lora: a plain LoRA of rank 2r; start: A and B alone, as PEFT saves them, which PEFT fits to the base when it loads them");
  }
};

/// The first r columns of Q span the first r columns of W and depend on nothing else, so the rest of W need not be factored.
StartPair orthonormal_start(const LoraLayer& layer) {
  const at::NoGradGuard no_gradient;
  const auto weight = layer.base.weight();
  const auto q = std::get<0>(at::linalg_qr(weight.narrow(1, 0, layer.rank)));
  return {at::mm(q.t(), weight), q};
}

}  // namespace

MethodSpec olora_method() {
  return {.name = "olora",
          .paper = "arXiv:2406.01775",
          .use_when = "a start from the base as pissa's is wanted without its decompositions",
          .parameters = "r (in + out) per layer",
          .traits = {},
          .attach = [](Places& places, const ConfigNode& section, const AttachContext& context) -> std::unique_ptr<Attachment> {
            const auto config = read_config<OloraConfig>(section);
            return attach_residual(places, config.lora, context, orthonormal_start, JsonSection::of(config), config.saved_as, "olora");
          },
          .from_published = [](const nlohmann::json& published) { return lora_from_published(published, "olora"); },
          .resolved = [](const ConfigNode& section) { return write_config(read_config<OloraConfig>(section), "method"); },
          .published = lora_published_form()};
}

}  // namespace graft::peft
