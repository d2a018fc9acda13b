#include "peft_core/methods/low_rank/lora_ga.h"

#include <ATen/ATen.h>

#include <cmath>

#include "kernels/base/error.h"
#include "peft_core/methods/low_rank/leading_svd.h"
#include "peft_core/methods/low_rank/method_section.h"
#include "peft_core/methods/low_rank/residual_start.h"
#include "peft_core/methods/observed_samples.h"
#include "peft_core/slots/slot_seed.h"

namespace graft::peft {
namespace {

constexpr int64_t kIterations = 4;  // as PEFT

enum class Direction { kArBr, kA2rBr, kArB2r, kRandom };
inline EnumNames<Direction> config_names(Direction) {
  return {{"ArBr", Direction::kArBr}, {"A2rBr", Direction::kA2rBr}, {"ArB2r", Direction::kArB2r}, {"random", Direction::kRandom}};
}
enum class Scale { kStable, kWeightSvd, kGdScale, kUnit };
inline EnumNames<Scale> config_names(Scale) {
  return {{"stable", Scale::kStable}, {"weight_svd", Scale::kWeightSvd}, {"gd_scale", Scale::kGdScale}, {"unit", Scale::kUnit}};
}
enum class Mode { kPeft, kPaper };
inline EnumNames<Mode> config_names(Mode) { return {{"peft", Mode::kPeft}, {"paper", Mode::kPaper}}; }

struct LoraGaConfig {
  LoraConfig lora{.name = "lora_ga", .choice = {}, .rank_pattern = {}, .alpha_pattern = {}};
  Direction direction = Direction::kArB2r;
  Scale scale = Scale::kStable;
  double stable_gamma = 16;
  Mode mode = Mode::kPeft;

  template <class Visitor>
  void visit(Visitor& v) {
    lora.visit(v);
    v("direction", direction, "which of the gradient's 2r directions A and B take: ArB2r (A the first r, B the second), A2rBr, ArBr (in turn), random");
    v("scale", scale, "lengths of the factors: stable, weight_svd, gd_scale or unit");
    v("stable_gamma", stable_gamma, "gamma of the stable scale");
    v("mode", mode, "peft: B0 carries the gradient's singular values and the scale; paper: both factors carry the scale alone");
  }
};

LoraGaConfig read(const ConfigNode& section) {
  auto config = read_config<LoraGaConfig>(section);
  expect_range("method.stable_gamma", config.stable_gamma, 1e-6, 1e6);
  return config;
}


/// The numbers of the directions that A and B take.
std::pair<at::Tensor, at::Tensor> chosen(Direction direction, int64_t r, at::Generator& random) {
  const auto range = [](int64_t begin, int64_t end, int64_t step) { return at::arange(begin, end, step, at::kLong); };
  switch (direction) {
    case Direction::kArBr: return {range(1, 2 * r, 2), range(0, 2 * r, 2)};
    case Direction::kA2rBr: return {range(r, 2 * r, 1), range(0, r, 1)};
    case Direction::kArB2r: return {range(0, r, 1), range(r, 2 * r, 1)};
    case Direction::kRandom: break;
  }
  const auto drawn = at::randperm(2 * r, random, at::kLong).narrow(0, 0, r);
  return {drawn, drawn};
}

StartPair gradient_start(const LoraLayer& layer, const LeadingSvd& gradient, const LoraGaConfig& config) {
  const auto [of_a, of_b] = chosen(config.direction, layer.rank, layer.random);
  auto a = gradient.v.index_select(1, of_a).t(), b = gradient.u.index_select(1, of_b);
  const auto s = gradient.s.index_select(0, of_b);
  const bool paper = config.mode == Mode::kPaper;
  if (!paper) b = b * s;
  const double stable = std::pow(static_cast<double>(layer.base.out_features()), 0.25) / std::sqrt(config.stable_gamma);
  switch (config.scale) {
    case Scale::kStable: return {paper ? a * stable : a, b * stable};
    case Scale::kGdScale: return {a / layer.scale, b / layer.scale};
    case Scale::kUnit: return {a, b};
    case Scale::kWeightSvd: break;
  }
  const auto largest = iterated_svd(layer.base.weight(), layer.rank, kIterations, slot_seed(layer.name)).s[0];
  const auto divisor = paper ? at::ones_like(largest) : s[0];
  return {a, divisor.item<float>() > 0 ? b * (largest / divisor) : b};
}

void expect_room(const RankedSlot& ranked) {
  const auto limit = std::min(ranked.slot->base()->in_features(), ranked.slot->base()->out_features()) / 2;
  if (ranked.rank > limit)
    throw InvalidArgument({.where = "method.rank", .what = "lora_ga takes 2 r directions of the gradient, more than layer " + ranked.slot->name() + " has",
                           .expected = "1.." + std::to_string(limit), .got = std::to_string(ranked.rank)});
}

/// The leading directions of every layer's gradient, summed over the samples. A layer of rank r keeps up to 4r for the search and 2r of them.
std::map<std::string, LeadingSvd> gradient_directions(const std::vector<RankedSlot>& ranked, const AttachContext& context) {
  std::vector<LinearSlot*> slots;
  std::map<std::string, int64_t> ranks;
  for (const auto& one : ranked) expect_room(one), slots.push_back(one.slot), ranks[one.slot->name()] = one.rank;
  std::map<std::string, at::Tensor> sums;
  std::map<std::string, LeadingSvd> directions;
  const auto watch = [&](const LinearSlot& slot) -> LinearSlot::Observer {
    auto sum = at::zeros({slot.base()->out_features(), slot.base()->in_features()}, at::kFloat);
    sums[slot.name()] = sum;
    return [sum](const at::Tensor& x, const at::Tensor& y) {
      if (!y.requires_grad()) y.requires_grad_();  // the first layer that is watched: nothing before it wants a gradient
      y.register_hook([sum, x = x.detach()](const at::Tensor& g) {
        const at::NoGradGuard no_gradient;
        sum.addmm_(g.to(at::kFloat).t(), x.to(at::kFloat));
      });
    };
  };
  const auto reduce = [&](const LinearSlot& slot) {
    const auto sum = std::move(sums.extract(slot.name()).mapped());
    const auto r = ranks.at(slot.name()), searched = std::min({4 * r, sum.size(0), sum.size(1)});
    const auto svd = iterated_svd(sum, searched, kIterations, context.seed ^ slot_seed(slot.name()));
    directions[slot.name()] = {svd.u.narrow(1, 0, 2 * r).clone(), svd.s.narrow(0, 0, 2 * r).clone(), svd.v.narrow(1, 0, 2 * r).clone()};
  };
  const auto bytes = [](const LinearSlot& slot) { return 4 * slot.base()->out_features() * slot.base()->in_features(); };
  observe_samples(slots, context, /*gradients=*/true, {.bytes = bytes, .begin = watch, .end = reduce}, "lora_ga");
  return directions;
}

}  // namespace

MethodSpec lora_ga_method() {
  return {.name = "lora_ga",
          .paper = "arXiv:2407.05000",
          .use_when = "few steps are to come near full fine-tuning, and a pass over some samples first is no matter",
          .parameters = "r (in + out) per layer",
          .traits = {.needs_calibration = true},
          .attach = [](Places& places, const ConfigNode& section, const AttachContext& context) -> std::unique_ptr<Attachment> {
            const auto config = read(section);
            std::map<std::string, LeadingSvd> directions;
            if (!context.restoring) directions = gradient_directions(ranked_slots(places, config.lora), context);
            const auto start = [&](const LoraLayer& layer) {
              const at::NoGradGuard no_gradient;
              return gradient_start(layer, directions.at(layer.name), config);
            };
            return attach_residual(places, config.lora, context, start, JsonSection::of(config));
          },
          .from_published = [](const nlohmann::json& published) { return lora_from_published(published, "lora_ga"); },
          .resolved = [](const ConfigNode& section) { return write_config(read(section), "method"); },
          .published = lora_published_form()};
}

}  // namespace graft::peft
