#include "peft_core/methods/spectral/fourierft.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <nlohmann/json.hpp>
#include <tuple>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/methods/dense_update.h"
#include "peft_core/methods/low_rank/low_rank_op.h"
#include "peft_core/methods/published_form.h"
#include "peft_core/methods/spectral/spectrum.h"

namespace graft::peft {
namespace {

enum class Start { kNormal, kZero };
EnumNames<Start> config_names(Start) { return {{"normal", Start::kNormal}, {"zero", Start::kZero}}; }

struct FourierftConfig {
  std::string name = "fourierft";
  int64_t n_frequency = 1000;
  double scaling = 150.0;
  int64_t random_loc_seed = 777;
  Start init = Start::kZero;
  LayerChoice choice;
  std::map<std::string, int64_t> n_frequency_pattern;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("n_frequency", n_frequency, "trained numbers of each layer's spectrum; 1 <= n <= in * out of every layer");
    v("scaling", scaling, "what the update is multiplied with");
    v("random_loc_seed", random_loc_seed, "decides which frequencies are trained; the file holds no places, only this number");
    v("init", init, "start of the spectrum: zero (attaching changes no output), or normal as in the paper");
    choice.visit(v);
    v("n_frequency_pattern", n_frequency_pattern, "n_frequency of single layers: expression over the name's end -> number");
  }
};

/// Making D costs as much as some hundred rows of a product with it; so a text that is written token by token goes without.
constexpr int64_t kFewRows = 32;

class FourierftAdapter final : public Adapter {
 public:
  FourierftAdapter(std::shared_ptr<const Spectrum> spectrum, at::Tensor start, double scaling)
      : spectrum_(std::move(spectrum)), c_(start.requires_grad_()), scaling_(scaling) {}

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    if (spectrum_->thin()) return low_rank_linear(x, spectrum_->down(), spectrum_->up(c_), scaling_, call.base, call.bias);
    if (x.size(0) <= kFewRows) {
      const auto moved = spectrum_->apply(x, c_ * scaling_);
      return frozen_linear(x, call.base, call.bias) + moved.to(x.scalar_type());
    }
    const auto make = [spectrum = spectrum_, scaling = scaling_](const std::vector<at::Tensor>& leaves) {
      return spectrum->update(leaves[0] * scaling);
    };
    return dense_update_linear(x, {c_}, make, call.base, call.bias);
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override { return base.weight().add_(spectrum_->update(c_.detach() * scaling_)); }

  NamedTensors parameters() const override { return {{"fourierft_spectrum", c_}}; }
  void move_to(at::Device device) const override {
    Adapter::move_to(device);
    spectrum_->move_to(device);
  }

 private:
  std::shared_ptr<const Spectrum> spectrum_;
  at::Tensor c_;
  double scaling_;
};

/// Layers of one shape have the same frequencies, so they share what belongs to them.
class Spectra {
 public:
  explicit Spectra(int64_t seed) : seed_(seed) {}

  std::shared_ptr<const Spectrum> of(const FrozenLinear& base, int64_t n) {
    auto& made = made_[{base.out_features(), base.in_features(), n}];
    if (made == nullptr) made = std::make_shared<const Spectrum>(base.out_features(), base.in_features(), n, seed_);
    return made;
  }

 private:
  int64_t seed_;
  std::map<std::tuple<int64_t, int64_t, int64_t>, std::shared_ptr<const Spectrum>> made_;
};

void expect_frequencies(int64_t n, const LinearSlot& slot) {
  const auto limit = slot.base()->in_features() * slot.base()->out_features();
  if (n >= 1 && n <= limit) return;
  throw InvalidArgument({.where = "method.n_frequency", .what = "does not fit layer " + slot.name(),
                         .expected = "1.." + std::to_string(limit) + " = in * out", .got = std::to_string(n)});
}

nlohmann::json published_form(const FourierftConfig& config) {
  return {{"peft_type", "FOURIERFT"},
          {"n_frequency", config.n_frequency},
          {"scaling", config.scaling},
          {"random_loc_seed", config.random_loc_seed},
          {"n_frequency_pattern", config.n_frequency_pattern},
          {"init_weights", config.init == Start::kZero},
          {"fan_in_fan_out", false},
          {"bias", "none"},
          {"modules_to_save", nullptr}};
}

std::unique_ptr<Attachment> attach(Places& places, const ConfigNode& section, const AttachContext& context) {
  const auto config = read_config<FourierftConfig>(section);
  Patterns numbers(config.n_frequency_pattern, "method.n_frequency_pattern");
  for (const auto* slot : chosen_slots(places, config.choice)) expect_frequencies(numbers.value_for(slot->name(), config.n_frequency), *slot);
  numbers.expect_all_used();
  auto random = at::make_generator<at::CPUGeneratorImpl>(context.seed);
  Spectra spectra(config.random_loc_seed);
  const auto make = [&](const LinearSlot& slot) {
    const auto n = numbers.value_for(slot.name(), config.n_frequency);
    auto start = config.init == Start::kZero ? at::zeros({n}, at::kFloat) : at::randn({n}, random, at::kFloat);
    return std::make_shared<FourierftAdapter>(spectra.of(*slot.base(), n), std::move(start), config.scaling);
  };
  return std::make_unique<PublishedLayerAdapters>(places, config.choice, make, published_form(config));
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "FOURIERFT") return std::nullopt;
  refuse_set(published, {"fan_in_fan_out"});
  nlohmann::json method = {{"name", "fourierft"},
                           {"n_frequency", published_value<int64_t>(published, "n_frequency", 1000)},
                           {"scaling", published_value(published, "scaling", 150.0)},
                           {"random_loc_seed", published_value<int64_t>(published, "random_loc_seed", 777)},
                           {"init", published_value(published, "init_weights", false) ? "zero" : "normal"}};
  read_published_targets(published, method);
  if (const auto found = published.find("n_frequency_pattern"); found != published.end() && found->is_object())
    method["n_frequency_pattern"] = *found;
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec fourierft_method() {
  return {.name = "fourierft",
          .paper = "arXiv:2405.03003",
          .use_when = "many adapters have to be stored or sent: a thousand numbers a layer, whatever its size",
          .parameters = "n_frequency per layer",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = attach,
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<FourierftConfig>(config), "method"); },
          .published = {.peft_type = "FOURIERFT",
                        .keys = {"n_frequency", "scaling", "random_loc_seed", "n_frequency_pattern", "init_weights", "fan_in_fan_out", "bias"},
                        .tensor_marks = {".fourierft_"}}};
}

}  // namespace graft::peft
