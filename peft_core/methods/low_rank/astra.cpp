#include "peft_core/methods/low_rank/astra.h"

#include <ATen/ATen.h>

#include "peft_core/methods/low_rank/method_section.h"
#include "peft_core/methods/low_rank/residual_start.h"
#include "peft_core/methods/observed_samples.h"

namespace graft::peft {
namespace {

enum class Eigenvectors { kSmallest, kLargest, kMiddle };
inline EnumNames<Eigenvectors> config_names(Eigenvectors) {
  return {{"smallest", Eigenvectors::kSmallest}, {"largest", Eigenvectors::kLargest}, {"middle", Eigenvectors::kMiddle}};
}

struct AstraConfig {
  LoraConfig lora{.name = "astra", .choice = {}, .rank_pattern = {}, .alpha_pattern = {}};
  Eigenvectors eigenvectors = Eigenvectors::kSmallest;

  template <class Visitor>
  void visit(Visitor& v) {
    lora.visit(v);
    v("eigenvectors", eigenvectors, "of the outputs' second moments: smallest (the paper's tail), largest (the released code) or middle");
  }
};

/// `rank` eigenvectors of the symmetric C as columns, chosen by the order of their eigenvalues.
at::Tensor chosen_eigenvectors(const at::Tensor& c, int64_t rank, Eigenvectors which) {
  const auto [values, vectors] = at::linalg_eigh(c);
  const auto ascending = values.argsort();  // whatever order the solver has
  const int64_t n = c.size(0);
  const int64_t begin = which == Eigenvectors::kSmallest ? 0 : which == Eigenvectors::kLargest ? n - rank : (n - rank) / 2;
  return vectors.index_select(1, ascending.narrow(0, begin, rank));
}

struct Moments {
  at::Tensor sum;  // (out, out) fp64
  int64_t samples = 0;

  void add(const at::Tensor& y) {
    const at::NoGradGuard no_gradient;
    const auto exact = y.to(at::kDouble);
    const double largest = std::abs(exact.numel() == 0 ? 0.0 : exact.max().item<double>());  // of the signed values, as the released code has it
    const auto scaled = largest > 0 ? exact / largest : exact;
    sum.addmm_(scaled.t(), scaled);
    ++samples;
  }
};

std::map<std::string, at::Tensor> output_spaces(const std::vector<RankedSlot>& ranked, const AttachContext& context, Eigenvectors which) {
  std::vector<LinearSlot*> slots;
  std::map<std::string, int64_t> ranks;
  for (const auto& one : ranked) slots.push_back(one.slot), ranks[one.slot->name()] = one.rank;
  std::map<std::string, std::shared_ptr<Moments>> moments;
  std::map<std::string, at::Tensor> spaces;
  const Gathering gathering = {
      .bytes = [](const LinearSlot& slot) { return 8 * slot.base()->out_features() * slot.base()->out_features(); },
      .begin = [&](const LinearSlot& slot) -> LinearSlot::Observer {
        const auto out = slot.base()->out_features();
        auto own = std::make_shared<Moments>(Moments{at::zeros({out, out}, at::kDouble)});
        moments[slot.name()] = own;
        return [own](const at::Tensor&, const at::Tensor& y) { own->add(y); };
      },
      .end =
          [&](const LinearSlot& slot) {
            const auto own = std::move(moments.extract(slot.name()).mapped());
            const auto mean = own->sum / static_cast<double>(std::max<int64_t>(1, own->samples));
            spaces[slot.name()] = chosen_eigenvectors(mean, ranks.at(slot.name()), which).to(at::kFloat);
          }};
  observe_samples(slots, context, /*gradients=*/false, gathering, "astra");
  return spaces;
}

}  // namespace

MethodSpec astra_method() {
  return {.name = "astra",
          .paper = "after the idea of arXiv:2602.19111",
          .use_when = "training is to begin in directions of the outputs that the task hardly uses (or, largest, uses most)",
          .parameters = "r (in + out) per layer",
          .traits = {.needs_calibration = true},
          .attach = [](Places& places, const ConfigNode& section, const AttachContext& context) -> std::unique_ptr<Attachment> {
            const auto config = read_config<AstraConfig>(section);
            std::map<std::string, at::Tensor> spaces;
            if (!context.restoring) spaces = output_spaces(ranked_slots(places, config.lora), context, config.eigenvectors);
            const auto start = [&](const LoraLayer& layer) -> StartPair {
              const at::NoGradGuard no_gradient;
              const auto& v = spaces.at(layer.name);
              return {at::mm(v.t(), layer.base.weight()), v};
            };
            return attach_residual(places, config.lora, context, start, JsonSection::of(config));
          },
          .from_published = [](const nlohmann::json& published) { return lora_from_published(published, "astra"); },
          .resolved = [](const ConfigNode& section) { return write_config(read_config<AstraConfig>(section), "method"); },
          .published = lora_published_form()};
}

}  // namespace graft::peft
