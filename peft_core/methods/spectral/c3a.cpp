#include "peft_core/methods/spectral/c3a.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "kernels/base/cpu_features.h"
#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/methods/dense_update.h"
#include "peft_core/methods/published_form.h"
#include "peft_core/methods/spectral/circulant.h"

namespace graft::peft {
namespace {

enum class Start { kZero, kXavier, kKaiming, kGaussian };
EnumNames<Start> config_names(Start) {
  return {{"zero", Start::kZero}, {"xavier_uniform", Start::kXavier}, {"kaiming_uniform", Start::kKaiming}, {"gaussian", Start::kGaussian}};
}

struct C3aConfig {
  std::string name = "c3a";
  int64_t block_size = 256;
  Start init = Start::kZero;
  LayerChoice choice;
  std::map<std::string, int64_t> block_size_pattern;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("block_size", block_size, "size b of the circulant blocks; a layer takes the largest b up to this that divides its in and out");
    v("init", init, "start of w: zero (attaching changes no output), xavier_uniform, kaiming_uniform or gaussian");
    choice.visit(v);
    v("block_size_pattern", block_size_pattern, "block_size of single layers: expression over the name's end -> size");
  }
};

/// Smaller blocks would train an eighth of the weight and more.
constexpr int64_t kSmallestBlock = 8;

int64_t fitting_block(int64_t wanted, const LinearSlot& slot) {
  const auto common = std::gcd(slot.base()->in_features(), slot.base()->out_features());
  for (int64_t b = std::min(wanted, common); b >= std::min(wanted, kSmallestBlock); --b)
    if (b >= 1 && common % b == 0) return b;
  throw InvalidArgument({.where = "method.block_size", .what = "does not fit layer " + slot.name(),
                         .expected = "a divisor of in and out, so of " + std::to_string(common), .got = std::to_string(wanted),
                         .hint = "leave the layer out with method.exclude"});
}

at::Tensor start_of(Start start, int64_t out, int64_t in, int64_t b, at::Generator& random) {
  auto w = at::zeros({out / b, in / b, b}, at::kFloat);
  const auto uniform = [&](double bound) { w.uniform_(-bound, bound, random); };
  if (start == Start::kXavier) uniform(std::sqrt(6.0 / static_cast<double>(in + out)));
  if (start == Start::kKaiming) uniform(1.0 / std::sqrt(static_cast<double>(in)));
  if (start == Start::kGaussian) w.normal_(0, 1, random);
  return w;
}

/// Which way is quicker; both were measured on two cores of a Sapphire Rapids (docs/methods/c3a.md).
bool by_transforms(const at::Tensor& x, const FrozenLinear& base) {
  constexpr int64_t kFewRows = 32;
  const auto in = base.in_features(), out = base.out_features();
  return x.size(0) <= kFewRows || in * out > (kernels::has_fast_bfloat16() ? 1600 : 540) * (in + out);
}

class C3aAdapter final : public Adapter {
 public:
  explicit C3aAdapter(at::Tensor start) : w_(start.requires_grad_()) {}

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    const double scale = 1.0 / static_cast<double>(x.size(1));
    if (by_transforms(x, *call.base))
      return frozen_linear(x, call.base, call.bias) + (block_circular_product(x, w_ * scale)).to(x.scalar_type());
    const auto make = [scale](const std::vector<at::Tensor>& leaves) { return block_circulant(leaves[0] * scale); };
    return dense_update_linear(x, {w_}, make, call.base, call.bias);
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override {
    return base.weight().add_(block_circulant(w_.detach() / static_cast<double>(base.in_features())));
  }

  NamedTensors parameters() const override { return {{"c3a_kernel", w_}}; }

 private:
  at::Tensor w_;
};

nlohmann::json published_form(const C3aConfig& config, const std::map<std::string, int64_t>& other_sizes) {
  const nlohmann::json init = config.init == Start::kZero ? nlohmann::json(true) : nlohmann::json(enum_name(config.init));  // PEFT's word for zero is true
  return {{"peft_type", "C3A"},   {"block_size", config.block_size}, {"block_size_pattern", other_sizes},
          {"init_weights", init}, {"bias", "none"},                  {"modules_to_save", nullptr}};
}

std::unique_ptr<Attachment> attach(Places& places, const ConfigNode& section, const AttachContext& context) {
  const auto config = read_config<C3aConfig>(section);
  expect_range("method.block_size", static_cast<double>(config.block_size), 1, 1 << 24);
  Patterns sizes(config.block_size_pattern, "method.block_size_pattern");
  std::map<std::string, int64_t> other_sizes;  // under full names: PEFT knows no size that a layer may choose
  const auto size_of = [&](const LinearSlot& slot) { return fitting_block(sizes.value_for(slot.name(), config.block_size), slot); };
  for (const auto* slot : chosen_slots(places, config.choice))
    if (const auto b = size_of(*slot); b != config.block_size) other_sizes[slot->name()] = b;
  sizes.expect_all_used();
  auto random = at::make_generator<at::CPUGeneratorImpl>(context.seed);
  const auto make = [&](const LinearSlot& slot) {
    const auto& base = *slot.base();
    return std::make_shared<C3aAdapter>(start_of(config.init, base.out_features(), base.in_features(), size_of(slot), random));
  };
  return std::make_unique<PublishedLayerAdapters>(places, config.choice, make, published_form(config, other_sizes));
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "C3A") return std::nullopt;
  const auto init = published.value("init_weights", nlohmann::json("xavier_uniform"));
  nlohmann::json method = {{"name", "c3a"},
                           {"block_size", published_value<int64_t>(published, "block_size", 256)},
                           {"init", init.is_string() ? init : nlohmann::json(init == true ? "zero" : "xavier_uniform")}};
  read_published_targets(published, method);
  if (const auto found = published.find("block_size_pattern"); found != published.end() && found->is_object())
    method["block_size_pattern"] = *found;
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec c3a_method() {
  return {.name = "c3a",
          .paper = "arXiv:2407.19342",
          .use_when = "an update of full rank is wanted for the numbers of a low one",
          .parameters = "in out / b per layer, b the largest divisor of in and out up to block_size",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = attach,
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<C3aConfig>(config), "method"); },
          .published = {.peft_type = "C3A",
                        .keys = {"block_size", "block_size_pattern", "init_weights", "bias"},
                        .tensor_marks = {".c3a_"}}};
}

}  // namespace graft::peft
