#include "peft_core/methods/low_rank/pissa.h"

#include <ATen/ATen.h>

#include "kernels/base/error.h"
#include "peft_core/methods/low_rank/leading_svd.h"
#include "peft_core/methods/low_rank/method_section.h"
#include "peft_core/methods/low_rank/residual_start.h"
#include "peft_core/slots/slot_seed.h"

namespace graft::peft {
namespace {

struct PissaConfig {
  LoraConfig lora{.name = "pissa", .choice = {}, .rank_pattern = {}, .alpha_pattern = {}};
  int64_t iterations = -1;
  SavedAs saved_as = SavedAs::kLora;

  template <class Visitor>
  void visit(Visitor& v) {
    lora.visit(v);
    v("iterations", iterations, "rounds of subspace iteration that find the singular directions; -1: the exact decomposition");
    v("saved_as", saved_as, "lora: a plain LoRA of rank 2r; start: A and B alone, as PEFT saves them, which PEFT fits to the base when it loads them");
  }
};

PissaConfig read(const ConfigNode& section) {
  auto config = read_config<PissaConfig>(section);
  expect_range("method.iterations", static_cast<double>(config.iterations), -1, 1000);
  return config;
}

StartPair principal_start(const LoraLayer& layer, int64_t iterations) {
  const at::NoGradGuard no_gradient;
  if (!(layer.scale > 0)) throw InvalidArgument({.where = "method.alpha", .what = "pissa's start needs a scale above 0"});
  const auto weight = layer.base.weight();
  // The seed is the layer's own: whoever reads A and B alone has to find the same directions.
  const auto svd = iterations < 0 ? leading_svd(weight, layer.rank) : iterated_svd(weight, layer.rank, iterations, slot_seed(layer.name));
  const auto root = (svd.s / layer.scale).sqrt();
  return {(svd.v * root).t(), svd.u * root};
}

}  // namespace

MethodSpec pissa_method() {
  return {.name = "pissa",
          .paper = "arXiv:2404.02948",
          .use_when = "few steps are to learn much: the start holds the base's strongest directions",
          .parameters = "r (in + out) per layer",
          .traits = {},
          .attach = [](Places& places, const ConfigNode& section, const AttachContext& context) -> std::unique_ptr<Attachment> {
            const auto config = read(section);
            const auto iterations = config.iterations;
            const auto start_name = iterations < 0 ? std::string("pissa") : "pissa_niter_" + std::to_string(iterations);
            return attach_residual(places, config.lora, context, [=](const LoraLayer& layer) { return principal_start(layer, iterations); },
                                   JsonSection::of(config), config.saved_as, start_name);
          },
          .from_published = [](const nlohmann::json& published) { return lora_from_published(published, "pissa"); },
          .resolved = [](const ConfigNode& section) { return write_config(read(section), "method"); },
          .published = lora_published_form()};
}

}  // namespace graft::peft
