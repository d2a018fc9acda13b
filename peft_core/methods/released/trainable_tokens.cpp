#include "peft_core/methods/released/trainable_tokens.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/memory/move_in_place.h"

namespace graft::peft {
namespace {

constexpr const char* kTensor = ".trainable_tokens_delta";  // PEFT's name; it holds the vectors themselves

/// Rows that stand in place of a table's own, in the embedding and in a head that is tied to it.
class TokenRows final : public EmbeddingAdapter, public Adapter {
 public:
  TokenRows(const FrozenLinear& table, at::Tensor ids, at::Tensor rows)
      : ids_(std::move(ids)), original_(table.gather(ids_, at::kFloat)), rows_(std::move(rows)),
        row_of_(at::full({table.out_features()}, -1, at::kLong)) {
    rows_.requires_grad_();
    row_of_.index_copy_(0, ids_, at::arange(ids_.size(0), at::kLong));
  }

  at::Tensor look_up(const at::Tensor& ids, const FrozenLinear& base, at::ScalarType dtype) const override {
    const auto own = row_of_.index_select(0, ids), places = own.ge(0).nonzero().squeeze(1);
    const auto device = rows_.device();
    const auto changed = rows_.index_select(0, own.index_select(0, places).to(device)).to(dtype);
    return base.gather(ids, dtype).to(device).index_copy(0, places.to(device), changed);
  }

  /// As a difference, so that rows which have not moved change no bit of the logits.
  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    const auto change = x.to(at::kFloat).matmul((rows_ - original_).t());
    auto logits = frozen_linear(x, call.base, call.bias);
    return logits.index_add(1, ids_, change.to(logits.scalar_type()));
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override { return base.weight().index_copy_(0, ids_, rows_.detach()); }
  NamedTensors parameters() const override { return {{"trainable_tokens_delta", rows_}}; }
  /// But for the table of rows, which tokens are looked up in by the processor.
  void move_to(at::Device device) const override {
    Adapter::move_to(device);
    for (const auto& constant : {ids_, original_}) move_in_place(constant, device);
  }

 private:
  at::Tensor ids_;       // (K) int64
  at::Tensor original_;  // (K, C) fp32
  at::Tensor rows_;      // (K, C) fp32
  at::Tensor row_of_;    // (V) int64: a token's row, -1 for those that keep the table's
};

class TokensAttachment final : public Attachment {
 public:
  TokensAttachment(Places& places, const TrainableTokensConfig& config, std::shared_ptr<const TokenRows> rows)
      : embedding_(*places.embedding), head_(places.embedding->tied_head() ? places.head : nullptr), config_(config), rows_(std::move(rows)) {
    if (head_ != nullptr) head_->attach(rows_);  // refuses first
    embedding_.attach(rows_);
  }

  std::vector<TrainableGroup> trainable() const override {
    return {{.name = "tokens", .parameters = {{name(), rows_->parameters()[0].second}}, .weight_decay = false}};
  }
  /// As PEFT does, once more for a tied head.
  AdapterState state() const override {
    AdapterState state = {{name(), rows_->parameters()[0].second}};
    if (head_ != nullptr) state[head_->name() + kTensor] = state.at(name());
    return state;
  }

  void move_to(at::Device device) override { rows_->move_to(device); }

  void detach() override {
    embedding_.detach();
    if (head_ != nullptr) head_->detach();
  }

  void merge(at::ScalarType dtype) override {
    embedding_.merge(dtype);
    if (head_ == nullptr) return;
    head_->detach();
    head_->replace_base(embedding_.base());
  }

  nlohmann::json published_config() const override {
    return {{"peft_type", "TRAINABLE_TOKENS"}, {"token_indices", config_.token_indices}, {"target_modules", {"embed_tokens"}},
            {"init_weights", config_.init_weights}};
  }

 private:
  std::string name() const { return embedding_.name() + kTensor; }

  EmbeddingSlot& embedding_;
  LinearSlot* head_;  // null: it has a weight of its own
  TrainableTokensConfig config_;
  std::shared_ptr<const TokenRows> rows_;
};

void expect_distinct_tokens(const std::vector<int64_t>& ids, int64_t vocabulary) {
  std::vector<bool> seen(static_cast<size_t>(vocabulary));
  for (const auto id : ids) {
    if (id < 0 || id >= vocabulary)
      throw InvalidArgument({.where = "method.token_indices", .what = "lies outside the model's vocabulary",
                             .expected = "0.." + std::to_string(vocabulary - 1), .got = std::to_string(id)});
    if (seen[static_cast<size_t>(id)]) throw InvalidArgument({.where = "method.token_indices", .what = "names token " + std::to_string(id) + " twice"});
    seen[static_cast<size_t>(id)] = true;
  }
}

std::unique_ptr<Attachment> attach(Places& places, const ConfigNode& section, const AttachContext& context) {
  auto config = read_config<TrainableTokensConfig>(section);
  if (places.embedding == nullptr)
    throw InvalidArgument({.where = "method.name", .what = "trainable_tokens trains vectors of tokens, and this model reads none", .expected = "a language model"});
  const auto& table = *places.embedding->base();
  if (config.token_indices.empty())
    for (int64_t id = 0; id < table.out_features(); ++id) config.token_indices.push_back(id);
  expect_distinct_tokens(config.token_indices, table.out_features());
  const auto ids = at::tensor(at::ArrayRef<int64_t>(config.token_indices), at::kLong);
  auto rows = table.gather(ids, at::kFloat);
  auto random = at::make_generator<at::CPUGeneratorImpl>(context.seed);
  if (!config.init_weights) rows.normal_(0, 1, random);
  return std::make_unique<TokensAttachment>(places, config, std::make_shared<TokenRows>(table, ids, rows));
}

/// PEFT lets a file choose other tables too; here it is the embedding, and a tied head with it.
void expect_the_embedding(const nlohmann::json& published) {
  const auto found = published.find("target_modules");
  if (found == published.end() || found->is_null()) return;
  const auto names = found->is_array() ? found->get<std::vector<std::string>>() : std::vector<std::string>{found->get<std::string>()};
  for (const auto& name : names)
    if (name != "embed_tokens" && name != "model.embed_tokens")
      throw InvalidArgument({.where = "adapter_config.json", .what = "trains tokens of '" + name + "', which is not supported here",
                             .expected = "target_modules embed_tokens"});
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "TRAINABLE_TOKENS") return std::nullopt;
  expect_the_embedding(published);
  const auto ids = published.at("token_indices");
  if (ids.empty()) throw InvalidArgument({.where = "adapter_config.json", .what = "token_indices is empty", .expected = "ids of the trained tokens"});
  const nlohmann::json method = {{"name", "trainable_tokens"}, {"token_indices", ids}, {"init_weights", published.value("init_weights", true)}};
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec trainable_tokens_method() {
  return {.name = "trainable_tokens",
          .paper = "none; a method of Hugging Face PEFT",
          .use_when = "a few tokens are new, or mean something else in the task",
          .parameters = "C per token",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = attach,
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<TrainableTokensConfig>(config), "method"); },
          .published = {.peft_type = "TRAINABLE_TOKENS", .keys = {"token_indices", "init_weights"}, .tensor_marks = {kTensor}}};
}

}  // namespace graft::peft
