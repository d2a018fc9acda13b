#include "peft_core/methods/low_rank/eva.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "kernels/base/error.h"
#include "peft_core/methods/low_rank/input_spectrum.h"
#include "peft_core/methods/low_rank/lora_adapter.h"
#include "peft_core/methods/low_rank/method_section.h"

namespace graft::peft {
namespace {

struct EvaConfig {
  LoraConfig lora{.name = "eva", .choice = {}, .rank_pattern = {}, .alpha_pattern = {}};
  double rho = 2;
  bool whiten = false;
  bool adjust_scaling_factors = true;

  template <class Visitor>
  void visit(Visitor& v) {
    lora.visit(v);
    v("rho", rho, "a layer's rank is at most rho times `rank`; 1: every layer keeps `rank`");
    v("whiten", whiten, "divide each component by the root of its singular value");
    v("adjust_scaling_factors", adjust_scaling_factors, "alpha grows with a layer's rank, so that the scale stays");
  }
};

EvaConfig read(const ConfigNode& section) {
  auto config = read_config<EvaConfig>(section);
  expect_range("method.rho", config.rho, 1, 1000);
  return config;
}

using Spectra = std::map<std::string, InputSpectrum>;

/// Components of all layers compete for the sum of the ranks by the share of variance that they explain; equal ones go in the model's order.
std::map<std::string, int64_t> distributed_ranks(const std::vector<RankedSlot>& ranked, const Spectra& spectra) {
  std::vector<std::pair<double, const std::string*>> shares;
  int64_t budget = 0;
  for (const auto& one : ranked) {
    const auto& spectrum = spectra.at(one.slot->name());
    const auto variances = spectrum.variances.contiguous();
    for (int64_t i = 0; i < variances.size(0); ++i)
      shares.emplace_back(spectrum.total > 0 ? variances.const_data_ptr<double>()[i] / spectrum.total : 0.0, &one.slot->name());
    budget += one.rank;
  }
  std::stable_sort(shares.begin(), shares.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::map<std::string, int64_t> ranks;
  for (const auto& one : ranked) ranks[one.slot->name()] = 0;
  for (size_t i = 0; i < std::min(shares.size(), static_cast<size_t>(budget)); ++i) ++ranks[*shares[i].second];
  return ranks;
}

/// The options with each layer's own rank and alpha, by its full name; layers of rank 0 are left out.
LoraConfig with_ranks(const EvaConfig& config, const std::vector<RankedSlot>& ranked, const std::map<std::string, int64_t>& ranks) {
  auto lora = config.lora;
  lora.rank_pattern.clear(), lora.alpha_pattern.clear();
  Patterns alphas(config.lora.alpha_pattern, "method.alpha_pattern");
  for (const auto& one : ranked) {
    const auto& name = one.slot->name();
    const auto rank = ranks.at(name);
    auto alpha = alphas.value_for(name, config.lora.alpha);
    if (config.adjust_scaling_factors) alpha *= static_cast<double>(rank) / static_cast<double>(one.rank);
    if (rank == 0) lora.choice.exclude.push_back(name);
    if (rank != 0 && rank != lora.rank) lora.rank_pattern[name] = rank;
    if (rank != 0 && alpha != lora.alpha) lora.alpha_pattern[name] = alpha;
  }
  return lora;
}

at::Tensor start_of_a(const InputSpectrum& spectrum, int64_t rank, bool whiten) {
  auto a = spectrum.components.narrow(0, 0, rank);
  if (!whiten) return a;
  const auto roots = spectrum.variances.narrow(0, 0, rank).sqrt().sqrt();  // of the singular values, which are roots of the variances
  return a / at::where(roots > 0, roots, 1.0).to(at::kFloat).unsqueeze(1);
}

void describe(const EvaConfig& config, nlohmann::json& published) {
  published["init_lora_weights"] = "eva";
  published["eva_config"] = {{"rho", config.rho}, {"tau", 0.99}, {"use_label_mask", true}, {"label_mask_value", -100},
                             {"whiten", config.whiten}, {"adjust_scaling_factors", config.adjust_scaling_factors}};
}

std::unique_ptr<Attachment> attach_eva(Places& places, const EvaConfig& config, const AttachContext& context) {
  auto lora = config.lora;
  Spectra spectra;
  if (!context.restoring) {
    const auto ranked = ranked_slots(places, lora);
    std::vector<LinearSlot*> slots;
    std::map<std::string, int64_t> wanted;
    for (const auto& one : ranked) {
      slots.push_back(one.slot);
      const auto limit = std::min(one.slot->base()->in_features(), one.slot->base()->out_features());
      wanted[one.slot->name()] = std::min<int64_t>(limit, std::llround(static_cast<double>(one.rank) * config.rho));
    }
    spectra = input_spectra(slots, wanted, context, "eva");
    lora = with_ranks(config, ranked, distributed_ranks(ranked, spectra));
  }
  const auto make = [&](const LoraLayer& layer) {
    LoraFactors factors(layer);
    if (!context.restoring) factors = {start_of_a(spectra.at(layer.name), layer.rank, config.whiten), at::zeros_like(factors.b)};
    return std::make_shared<LoraAdapter>(factors, layer);
  };
  return attach_lora_family(places, lora, context.seed,
                            {.make = make, .describe = [config](nlohmann::json& published) { describe(config, published); }});
}

}  // namespace

MethodSpec eva_method() {
  return {.name = "eva",
          .paper = "arXiv:2410.07170",
          .use_when = "ranks shall go to the layers whose inputs on this task vary in many directions",
          .parameters = "r (in + out) per layer, r by layer",
          .traits = {.needs_calibration = true},
          .attach = [](Places& places, const ConfigNode& section, const AttachContext& context) -> std::unique_ptr<Attachment> {
            return attach_eva(places, read(section), context);
          },
          .from_published = [](const nlohmann::json& published) { return lora_from_published(published, "eva"); },
          .resolved = [](const ConfigNode& section) { return write_config(read(section), "method"); },
          .published = lora_published_form()};
}

}  // namespace graft::peft
