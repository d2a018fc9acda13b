#include "peft_core/methods/structured/oft.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <optional>

#include "kernels/ops/dense_products.h"
#include "peft_core/base/config.h"
#include "peft_core/base/log.h"
#include "peft_core/methods/dropout.h"
#include "peft_core/methods/published_form.h"
#include "peft_core/methods/start_values.h"

namespace graft::peft {
namespace {

struct OftConfig {
  std::string name = "oft";
  std::optional<int64_t> block_size;
  std::optional<int64_t> rank;
  double module_dropout = 0.0;
  bool coft = false;
  double eps = 6e-5;
  bool block_share = false;
  bool use_cayley_neumann = true;
  int64_t num_cayley_neumann_terms = 5;
  LayerChoice choice;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("block_size", block_size, "inputs of a block; 32 where rank is not given; the nearest divisor of a layer's inputs is taken");
    v("rank", rank, "instead: blocks of a layer");
    v("module_dropout", module_dropout, "share of a layer's blocks that do not turn in a training step, in [0, 1)");
    v("coft", coft, "keeps Q near zero: constrained OFT");
    v("eps", eps, "with coft: largest length of Q, over the root of the number of blocks");
    v("block_share", block_share, "one rotation for all blocks of a layer");
    v("use_cayley_neumann", use_cayley_neumann, "a truncated series instead of the exact transform, which solves a system for each block");
    v("num_cayley_neumann_terms", num_cayley_neumann_terms, "terms of the series, 2 and more");
    choice.visit(v);
  }

  int64_t terms() const { return use_cayley_neumann ? num_cayley_neumann_terms : 0; }
};

/// The divisor of `whole` that is nearest to `wanted`, the smaller of two.
int64_t nearest_divisor(int64_t whole, int64_t wanted) {
  if (wanted >= whole) return whole;
  int64_t below = wanted, above = wanted;
  while (whole % below != 0) --below;
  while (whole % above != 0) ++above;
  return wanted - below <= above - wanted ? below : above;
}

int64_t fitting_block(const LinearSlot& slot, const OftConfig& config) {
  const auto in = slot.base()->in_features(), wanted = config.rank ? *config.rank : *config.block_size, taken = nearest_divisor(in, wanted);
  if (taken != wanted)
    log_warning("[" + slot.name() + "] " + std::to_string(in) + " inputs are not divided by " + std::to_string(wanted) + "; oft takes " +
                std::to_string(taken) + (config.rank ? " blocks" : " inputs a block"));
  const auto block = config.rank ? in / taken : taken;
  if (block < 2)
    throw InvalidArgument({.where = config.rank ? "method.rank" : "method.block_size", .what = "leaves blocks of one input in layer " + slot.name(),
                           .expected = "blocks of 2 inputs and more, which can be rotated", .got = std::to_string(wanted)});
  return block;
}

class OftAdapter final : public Adapter {
 public:
  OftAdapter(int64_t in, int64_t block, const OftConfig& config)
      : count_(in / block), block_(block), terms_(config.terms()), still_share_(config.block_share ? 0.0 : config.module_dropout),
        values_(zero_leaf({config.block_share ? 1 : count_, block * (block - 1) / 2})) {
    if (config.coft) longest_ = config.eps / std::sqrt(static_cast<double>(values_.size(0)));
  }

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    auto turn = cayley_minus_identity(constrained(), block_, terms_);
    if (call.context.training && still_share_ > 0) turn = turn * moving_blocks(call.context.dropout_seed ^ call.slot_seed);
    return frozen_linear(turned(x, turn.to(x.scalar_type())), call.base, call.bias);
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override {
    return turned(base.weight(), cayley_minus_identity(constrained().detach(), block_, terms_).transpose(1, 2));
  }

  NamedTensors parameters() const override { return {{"oft_R.weight", values_}}; }

  /// Puts the leaf itself back where coft allows it to be.
  void constrain() const {
    if (!longest_) return;
    const at::NoGradGuard no_gradient;
    values_.detach().copy_(shortened());
  }

 private:
  /// x (I + turn), block by block, for rows of x. Adding to x keeps its bits where nothing turns, and its precision in bf16.
  at::Tensor turned(const at::Tensor& x, const at::Tensor& turn) const {
    const auto rows = x.size(0);
    if (turn.size(0) == 1) {
      const auto flat = x.reshape({rows * count_, block_});
      return ops::addmm(flat, flat, turn[0]).view({rows, count_ * block_});
    }
    // Copied: products of strided blocks take twice as long there and back.
    const auto blocks = x.reshape({rows, count_, block_}).transpose(0, 1).contiguous();  // (k, N, block)
    return ops::baddbmm(blocks, blocks, turn).transpose(0, 1).reshape({rows, count_ * block_});
  }

  /// The leaf's values with each block at the allowed length at most.
  at::Tensor shortened() const {
    const auto values = values_.detach();
    const auto length = values.norm(2, {1}, /*keepdim=*/true) * std::sqrt(2.0);  // of Q, where each value stands twice
    return at::where(length <= *longest_, values, values * (*longest_ / length));
  }

  /// What the rotation is made from. The gradient passes as if nothing had been shortened, as in PEFT, which shortens the leaf itself before
  /// each call.
  at::Tensor constrained() const { return longest_ ? shortened() + (values_ - values_.detach()) : values_; }

  /// 0 for the share of the blocks that stay as they are, else 1, (k, 1, 1).
  at::Tensor moving_blocks(uint64_t seed) const {
    auto mask = at::ones({count_}, at::kFloat);
    const auto still = static_cast<int64_t>(still_share_ * static_cast<double>(count_));
    const auto order = at::randperm(count_, at::make_generator<at::CPUGeneratorImpl>(seed), at::TensorOptions(at::kLong));
    return mask.index_fill_(0, order.narrow(0, 0, still), 0).view({count_, 1, 1}).to(values_.device());
  }

  int64_t count_, block_, terms_;
  double still_share_;
  std::optional<double> longest_;
  at::Tensor values_;  // (k, block (block − 1) / 2)
};

nlohmann::json published_form(const OftConfig& config) {
  return {{"peft_type", "OFT"},
          {"r", config.rank.value_or(0)},
          {"oft_block_size", config.block_size.value_or(0)},
          {"module_dropout", config.module_dropout},
          {"fan_in_fan_out", false},
          {"bias", "none"},
          {"init_weights", true},
          {"modules_to_save", nullptr},
          {"coft", config.coft},
          {"eps", config.eps},
          {"block_share", config.block_share},
          {"use_cayley_neumann", config.use_cayley_neumann},
          {"num_cayley_neumann_terms", config.num_cayley_neumann_terms}};
}

class OftAttachment final : public PublishedLayerAdapters {
 public:
  using PublishedLayerAdapters::PublishedLayerAdapters;

  bool after_step(int64_t) override {
    for (const auto& adapter : adapters()) static_cast<const OftAdapter&>(*adapter).constrain();
    return false;
  }
};

std::unique_ptr<Attachment> attach(Places& places, const OftConfig& config) {
  const auto make = [&](const LinearSlot& slot) {
    return std::make_shared<OftAdapter>(slot.base()->in_features(), fitting_block(slot, config), config);
  };
  return std::make_unique<OftAttachment>(places, config.choice, make, published_form(config));
}

/// The section with block_size where neither it nor rank is given.
OftConfig read(const ConfigNode& node) {
  auto config = read_config<OftConfig>(node);
  if (config.rank && config.block_size)
    throw InvalidArgument({.where = "method.rank", .what = "is given beside method.block_size", .expected = "one of the two: their product is a layer's inputs"});
  if (!config.rank && !config.block_size) config.block_size = 32;
  expect_range(config.rank ? "method.rank" : "method.block_size", static_cast<double>(config.rank ? *config.rank : *config.block_size),
               config.rank ? 1 : 2, 65536);
  if (config.use_cayley_neumann) expect_range("method.num_cayley_neumann_terms", static_cast<double>(config.num_cayley_neumann_terms), 2, 64);
  expect_dropout(config.module_dropout, "module_dropout");
  if (!(config.eps > 0)) throw InvalidArgument({.where = "method.eps", .what = "is out of range", .expected = "a length above 0"});
  return config;
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  auto section = published_section(published, "OFT", "oft");
  if (!section) return std::nullopt;
  refuse_set(published, {"fan_in_fan_out"});
  const auto blocks = published.value("r", 0), size = published.value("oft_block_size", blocks == 0 ? 32 : 0);
  if (size != 0) (*section)["block_size"] = size;
  if (blocks != 0) (*section)["rank"] = blocks;
  read_published(published, "module_dropout", *section, "module_dropout", 0.0);
  read_published(published, "coft", *section, "coft", false);
  read_published(published, "eps", *section, "eps", 6e-5);
  read_published(published, "block_share", *section, "block_share", false);
  read_published(published, "use_cayley_neumann", *section, "use_cayley_neumann", true);
  read_published(published, "num_cayley_neumann_terms", *section, "num_cayley_neumann_terms", 5);
  return ConfigNode::parse(section->dump(), "adapter_config.json");
}

}  // namespace

at::Tensor cayley_minus_identity(const at::Tensor& values, int64_t block, int64_t terms) {
  const auto places = at::triu_indices(block, block, 1, at::kLong).to(values.device());
  const auto above = at::zeros({values.size(0), block * block}, values.options().requires_grad(false))
                         .index_copy(1, places[0] * block + places[1], values)
                         .view({-1, block, block});
  const auto q = above - above.transpose(1, 2);
  if (terms == 0) return at::linalg_solve(at::eye(block, q.options().requires_grad(false)) + q, q * -2, /*left=*/false);
  auto sum = q * 2;
  if (terms == 2) return sum;
  auto power = at::bmm(q, q);
  sum = sum + power * 2;
  for (int64_t i = 3; i < terms - 1; ++i) {
    power = at::bmm(power, q);
    sum = sum + power * 2;
  }
  return sum + at::bmm(power, q);
}

MethodSpec oft_method() {
  return {.name = "oft",
          .paper = "arXiv:2306.07280",
          .use_when = "what the model knows must be kept: rotations leave the lengths of, and the angles between, a layer's weight rows as they are",
          .parameters = "in (block - 1) / 2 per layer; block (block - 1) / 2 with block_share",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = [](Places& places, const ConfigNode& config, const AttachContext&) -> std::unique_ptr<Attachment> {
            return attach(places, read(config));
          },
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read(config), "method"); },
          .published = {.peft_type = "OFT",
                        .keys = {"r", "oft_block_size", "module_dropout", "fan_in_fan_out", "bias", "init_weights", "coft", "eps", "block_share",
                                 "use_cayley_neumann", "num_cayley_neumann_terms"},
                        .tensor_marks = {".oft_R."}}};
}

}  // namespace graft::peft
