#include "peft_core/methods/low_rank/id_lora.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "kernels/ops/dense_products.h"
#include "peft_core/base/config.h"
#include "peft_core/methods/dropout.h"
#include "peft_core/methods/low_rank/row_bank.h"
#include "peft_core/methods/low_rank/thin_ops.h"
#include "peft_core/methods/published_form.h"

namespace graft::peft {
namespace {

enum class Router { kLinear, kSoftmax, kConstant };
EnumNames<Router> config_names(Router) {
  return {{"linear", Router::kLinear}, {"softmax", Router::kSoftmax}, {"constant", Router::kConstant}};
}

enum class Bank { kClustered, kRandom };
EnumNames<Bank> config_names(Bank) { return {{"clustered", Bank::kClustered}, {"random", Bank::kRandom}}; }

constexpr int64_t kUsualRank = 32;

struct IdLoraConfig {
  std::string name = "id_lora";
  std::optional<int64_t> rank;
  int64_t clusters = 4;
  bool rank_boosting = true;
  Router router = Router::kLinear;
  Bank bank = Bank::kClustered;
  double scale = 1.0;
  double dropout = 0.0;
  LayerChoice choice;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("rank", rank, "rows r of each bank, clusters · r <= out of every layer; null: 32, and fewer where a layer has too few rows");
    v("clusters", clusters, "banks k");
    v("rank_boosting", rank_boosting, "both halves of the latent share one matrix of half the height, a quarter of the parameters; r and out even");
    v("router", router, "what weighs the banks: linear (t · z), softmax (of it over the banks) or constant (1 / k; merges)");
    v("bank", bank, "rows: clustered (nearest to the centres of k-means) or random");
    v("scale", scale, "what the update is multiplied with");
    v("dropout", dropout, "probability of dropping an input of the update while training, in [0, 1)");
    choice.visit(v);
  }
};

/// The rank of a layer: what is asked for, or what fits.
int64_t rank_for(const IdLoraConfig& config, const LinearSlot& slot) {
  const int64_t out = slot.base()->out_features(), step = config.rank_boosting ? 2 : 1, most = out / config.clusters / step * step;
  const int64_t rank = config.rank.value_or(std::min(kUsualRank, most));
  if (rank < step || rank > most)
    throw InvalidArgument({.where = "method.rank", .what = "does not fit layer " + slot.name() + " of " + std::to_string(out) + " rows",
                           .expected = std::to_string(step) + ".." + std::to_string(most) + " = out / clusters", .got = std::to_string(rank)});
  if (config.rank_boosting && (rank % 2 != 0 || out % 2 != 0))
    throw InvalidArgument({.where = "method.rank_boosting", .what = "needs an even rank and an even number of outputs; layer " + slot.name(),
                           .got = "rank " + std::to_string(rank) + ", " + std::to_string(out) + " outputs"});
  return rank;
}

class IdLoraAdapter final : public Adapter {
 public:
  IdLoraAdapter(const LinearSlot& slot, const IdLoraConfig& config, at::Generator& random, bool restoring)
      : config_(config), rank_(rank_for(config, slot)), halves_(config.rank_boosting ? 2 : 1) {
    const auto& base = *slot.base();
    rows_ = restoring ? at::zeros({config.clusters, rank_}, at::kLong)
            : config.bank == Bank::kRandom ? random_rows(base.out_features(), config.clusters, rank_, random)
                                           : clustered_rows(base.weight(), config.clusters, rank_, random);
    b_ = at::zeros({base.out_features() / halves_, rank_ / halves_}, at::kFloat).requires_grad_();
    if (config.router != Router::kConstant)
      t_ = at::empty({rank_}, at::kFloat).normal_(0, 1 / std::sqrt(static_cast<double>(rank_)), random).requires_grad_();
  }

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    const auto y = frozen_linear(x, call.base, call.bias);
    const auto u = mixed(latents(x, y, call)).to(x.scalar_type());
    // (N, halves, r / halves) times Bᵀ is (N, halves, out / halves): the two halves beside each other are the output.
    const auto update = ops::mm(u.view({-1, rank_ / halves_}), b_.t().to(u.scalar_type())).view(y.sizes());
    return at::add(y, update, config_.scale);
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override {
    if (config_.router != Router::kConstant)
      throw InvalidArgument({.where = "id_lora", .what = "cannot be merged: its router weighs the banks for each token",
                             .hint = "use the adapter beside its base; with method.router=constant it merges"});
    const auto mean = bank_of(base).view({config_.clusters, rank_, -1}).mean({0});
    const auto update = at::matmul(b_.detach(), mean.view({halves_, rank_ / halves_, -1})).reshape({base.out_features(), base.in_features()});
    return base.weight().add_(update, config_.scale);
  }

  NamedTensors parameters() const override {
    NamedTensors all = {{"id_lora_B.weight", b_}};
    if (t_.defined()) all.emplace_back("id_lora_router", t_);
    return all;
  }
  NamedTensors fixed() const override { return {{"id_lora_rows", rows_}}; }

 private:
  /// z (N, k, r). The base's product holds it already, at the rows' numbers. With a bias in it, bf16 would have rounded the small z with
  /// the large bias, and with dropout x is another: then the rows are multiplied with once more.
  at::Tensor latents(const at::Tensor& x, const at::Tensor& y, const SlotCall& call) const {
    const double dropout = call.context.training ? config_.dropout : 0.0;
    const auto z = dropout == 0 && !call.bias.defined()
                       ? y.index_select(1, rows_.view({-1}))
                       : thin_product(with_dropout(x, dropout, call.context.dropout_seed ^ call.slot_seed), kept_bank(*call.base));
    return z.to(at::kFloat).view({-1, config_.clusters, rank_});
  }

  /// u (N, r). The update is linear in z where the weights are given, so the banks are mixed before they are made wide.
  at::Tensor mixed(const at::Tensor& z) const {
    if (config_.router == Router::kConstant) return z.mean({1});
    auto weights = at::matmul(z, t_);
    if (config_.router == Router::kSoftmax) weights = weights.softmax(1);
    return (z * weights.unsqueeze(2)).sum({1});
  }

  at::Tensor bank_of(const FrozenLinear& base) const { return base.gather(rows_.view({-1}).cpu(), at::kFloat).to(rows_.device()); }

  /// The rows in fp32, taken again when their numbers have been loaded from a file.
  const at::Tensor& kept_bank(const FrozenLinear& base) const {
    if (!bank_.defined() || bank_version_ != rows_._version()) bank_ = bank_of(base), bank_version_ = rows_._version();
    return bank_;
  }

  IdLoraConfig config_;
  int64_t rank_, halves_;
  at::Tensor rows_, b_, t_;
  mutable at::Tensor bank_;  // (k r, in), only where kept_bank() is asked for
  mutable int64_t bank_version_ = -1;
};

nlohmann::json published_form(const IdLoraConfig& config) {
  return {{"peft_type", "ID_LORA"},
          {"r", config.rank ? nlohmann::json(*config.rank) : nlohmann::json()},
          {"clusters", config.clusters},
          {"rank_boosting", config.rank_boosting},
          {"router", enum_name(config.router)},
          {"bank", enum_name(config.bank)},
          {"scale", config.scale},
          {"dropout", config.dropout}};
}

std::unique_ptr<Attachment> attach(Places& places, const IdLoraConfig& config, const AttachContext& context) {
  expect_range("method.clusters", static_cast<double>(config.clusters), 1, 65536);
  expect_dropout(config.dropout);
  for (const auto* slot : chosen_slots(places, config.choice)) rank_for(config, *slot);  // k-means takes time, a refusal should not
  auto random = at::make_generator<at::CPUGeneratorImpl>(context.seed);
  const auto make = [&](const LinearSlot& slot) { return std::make_shared<IdLoraAdapter>(slot, config, random, context.restoring); };
  return std::make_unique<PublishedLayerAdapters>(places, config.choice, make, published_form(config));
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "ID_LORA") return std::nullopt;
  nlohmann::json method = {{"name", "id_lora"}, {"rank", published.at("r")}};
  for (const auto* key : {"clusters", "rank_boosting", "router", "bank", "scale", "dropout"})
    if (const auto found = published.find(key); found != published.end()) method[key] = *found;
  read_published_targets(published, method);
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec id_lora_method() {
  return {.name = "id_lora",
          .paper = "after the idea of arXiv:2602.20727",
          .use_when = "an adapter of about half of lora's parameters at four times its rank; it does not merge",
          .parameters = "r out / 4 + r per layer (r out + r without rank boosting)",
          .traits = {.identity_at_start = true, .mergeable = false, .exact_gradient = true},
          .attach = [](Places& places, const ConfigNode& config, const AttachContext& context) -> std::unique_ptr<Attachment> {
            return attach(places, read_config<IdLoraConfig>(config), context);
          },
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<IdLoraConfig>(config), "method"); },
          .published = {.peft_type = "ID_LORA", .keys = {"r", "clusters", "rank_boosting", "router", "bank", "scale", "dropout"},
                        .tensor_marks = {".id_lora_"}}};
}

}  // namespace graft::peft
