#include "peft_core/methods/low_rank/lite_lora.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/base/log.h"
#include "peft_core/base/rng.h"
#include "peft_core/memory/move_in_place.h"
#include "peft_core/methods/layer_adapters.h"
#include "peft_core/methods/low_rank/low_rank_op.h"
#include "peft_core/methods/low_rank/method_section.h"
#include "peft_core/methods/low_rank/price_gate.h"
#include "peft_core/methods/task_sequence.h"

namespace graft::peft {
namespace {

enum class Handover { kContinuous, kReleased };
EnumNames<Handover> config_names(Handover) { return {{"continuous", Handover::kContinuous}, {"released", Handover::kReleased}}; }

struct LiteLoraConfig {
  std::string name = "lite_lora";
  int64_t rank = 10;
  double price = 0.02;
  double selection_share = 1.0 / 21;
  GateNoise noise = GateNoise::kGumbel;
  double gate_rate = 0.05;
  double strength_rate = 0.8;
  Handover handover = Handover::kContinuous;
  int64_t tasks = 1;
  LayerChoice choice;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("rank", rank, "inner size r of each task's adapter; 1 <= r <= min(in, out) of every layer");
    v("price", price, "nats of mean loss that a new task's adapter must be worth to be kept");
    v("selection_share", selection_share, "share of a run's steps, its last ones, in which only the gate learns");
    v("noise", noise, "on the gate while it learns: gumbel (as released, leans to open), logistic or none");
    v("gate_rate", gate_rate, "learning rate of the gate, not scheduled");
    v("strength_rate", strength_rate, "learning rate of the tasks' strengths over that of the rest");
    v("handover", handover, "continuous: a strength takes over its adapter's length when that is normalised; released: it stays");
    v("tasks", tasks, "adapters that a file holds; written by the program");
    choice.visit(v);
  }
};

LiteLoraConfig read(const ConfigNode& section) {
  const auto config = read_config<LiteLoraConfig>(section);
  expect_range("method.price", config.price, 0, 1e9);
  expect_range("method.selection_share", config.selection_share, 0, 0.999);
  expect_range("method.gate_rate", config.gate_rate, 0, 1e3);
  expect_range("method.strength_rate", config.strength_rate, 0, 1e3);
  expect_range("method.tasks", static_cast<double>(config.tasks), 1, 65536);
  return config;
}

/// What all layers share.
struct Sequence {
  at::Tensor strengths;                            // α (tasks), a leaf where there is an earlier task
  std::shared_ptr<PriceGate> gate;                 // of the last task; none for the first, and none before a task is begun
  at::Tensor steps = at::zeros({1}, at::kFloat);   // done in this run; a resumed one gets it back
  int64_t first_selection = INT64_MAX;
  mutable uint64_t seed = 0;                       // of the last pass while the gate learns

  int64_t tasks() const { return strengths.size(0); }
  bool selecting() const { return gate != nullptr && steps.item<double>() >= static_cast<double>(first_selection); }
  bool shut() const { return selecting() && !gate->open(); }

  /// β in this pass; undefined: 1.
  at::Tensor openness(const ForwardContext& context) const {
    if (!selecting()) return {};
    if (!context.training) return at::full({1}, gate->open() ? 1.0 : 0.0, strengths.options().requires_grad(false));
    return gate->sample(seed = context.dropout_seed).to(strengths.device());
  }
};

class LiteLoraAdapter final : public Adapter {
 public:
  LiteLoraAdapter(const FrozenLinear& base, int64_t rank, int64_t tasks, std::shared_ptr<const Sequence> sequence, at::Generator& random)
      : in_(base.in_features()), out_(base.out_features()), rank_(rank), sequence_(std::move(sequence)) {
    for (int64_t i = 0; i < tasks; ++i) add_task(random);
  }

  /// The new one learns, those before it rest.
  void add_task(at::Generator& random) {
    for (auto& tensors : {&a_, &b_})
      for (auto& tensor : *tensors) tensor.set_requires_grad(false);
    const double bound = 1 / std::sqrt(static_cast<double>(in_));
    a_.push_back(at::empty({rank_, in_}, at::kFloat).uniform_(-bound, bound, random).requires_grad_());
    b_.push_back(at::zeros({out_, rank_}, at::kFloat).requires_grad_());
  }

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    const auto b = weighed_b(sequence_->openness(call.context));
    return low_rank_linear(x, a_.size() == 1 ? a_.front() : at::cat(a_, 0), b, 1.0, call.base, call.bias);
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override {
    return base.weight().addmm_(weighed_b(sequence_->openness({})).detach(), at::cat(a_, 0).detach());
  }

  NamedTensors parameters() const override { return {named("A", a_, a_.size() - 1), named("B", b_, b_.size() - 1)}; }
  NamedTensors fixed() const override {
    NamedTensors all;
    for (size_t i = 0; i + 1 < a_.size(); ++i) all.push_back(named("A", a_, i)), all.push_back(named("B", b_, i));
    return all;
  }

  /// ‖A‖ ‖B‖ of the last task's.
  double last_length() const { return length(a_.back()) * length(b_.back()); }
  void divide_last(double by) { b_.back().detach().div_(by); }

 private:
  static double length(const at::Tensor& tensor) { return tensor.detach().to(at::kDouble).norm().item<double>(); }
  static std::pair<std::string, at::Tensor> named(const char* which, const std::vector<at::Tensor>& tensors, size_t i) {
    return {std::string("lite_lora_") + which + "." + std::to_string(i), tensors[i]};
  }

  /// (out, tasks · r): each task's B times its strength, the last one times the gate too.
  at::Tensor weighed_b(const at::Tensor& openness) const {
    std::vector<at::Tensor> parts;
    for (size_t i = 0; i < b_.size(); ++i) {
      parts.push_back(b_[i] * sequence_->strengths.narrow(0, static_cast<int64_t>(i), 1));
      if (i + 1 == b_.size() && openness.defined()) parts.back() = parts.back() * openness;
    }
    return at::cat(parts, 1);
  }

  int64_t in_, out_, rank_;
  std::shared_ptr<const Sequence> sequence_;
  std::vector<at::Tensor> a_, b_;  // one a task
};

class LiteLoraAttachment final : public LayerAdapters, public TaskSequence {
 public:
  LiteLoraAttachment(Places& places, const LiteLoraConfig& config, std::shared_ptr<Sequence> sequence, const Make& make)
      : LayerAdapters(places, config.choice, make), config_(config), sequence_(std::move(sequence)) {}

  std::vector<TrainableGroup> trainable() const override {
    auto groups = LayerAdapters::trainable();
    if (sequence_->tasks() > 1)
      groups.push_back({.name = "lite_lora_strengths", .parameters = {{"lite_lora_strengths", sequence_->strengths}},
                        .learning_rate_factor = config_.strength_rate});
    return groups;
  }

  AdapterState state() const override {
    auto state = LayerAdapters::state();
    state["lite_lora_strengths"] = sequence_->strengths;
    return state;
  }

  /// Without what was dropped.
  AdapterState saved_state() const override {
    auto state = this->state();
    if (!sequence_->shut()) return state;
    const auto last = "." + std::to_string(sequence_->tasks() - 1);
    std::erase_if(state, [&](const auto& entry) { return entry.first.find(".lite_lora_") != std::string::npos && entry.first.ends_with(last); });
    state["lite_lora_strengths"] = sequence_->strengths.detach().narrow(0, 0, sequence_->tasks() - 1);
    return state;
  }

  nlohmann::json published_config() const override {
    auto published = JsonSection::of(config_);
    for (const auto* key : {"name", "targets", "exclude", "layers", "rank"}) published.erase(key);
    published.update({{"peft_type", "LITE_LORA"}, {"r", config_.rank}, {"tasks", sequence_->tasks() - (sequence_->shut() ? 1 : 0)},
                      {"target_modules", published_targets()}});
    return published;
  }

  ConfigNode begin_task(const ConfigNode& asked, uint64_t seed) override;

  void begin_training(int64_t total_steps) override {
    if (sequence_->gate == nullptr) return;
    const auto selection = static_cast<int64_t>(std::ceil(config_.selection_share * static_cast<double>(total_steps)));
    sequence_->first_selection = std::max<int64_t>(1, total_steps - selection);
    last_step_ = total_steps;
  }

  NamedTensors training_state() const override {
    if (sequence_->gate == nullptr) return {};
    auto all = sequence_->gate->state();
    all.emplace_back("lite_lora_gate.step", sequence_->steps);
    return all;
  }

  /// All but the gate, which is one number that the processor looks after.
  void move_to(at::Device device) override {
    for (const auto& adapter : adapters()) adapter->move_to(device);
    move_in_place(sequence_->strengths, device);
  }

  /// λ β, with the sample of the pass before.
  at::Tensor auxiliary_loss() const override {
    if (!sequence_->selecting()) return {};
    return sequence_->gate->sample(sequence_->seed).squeeze() * config_.price;
  }

  void before_step(int64_t, double) override {
    before_.clear();
    if (!sequence_->selecting()) return;
    sequence_->gate->learn();
    for (const auto& tensor : learning()) before_.push_back(tensor.detach().clone());
  }

  bool after_step(int64_t step) override {
    const at::NoGradGuard no_gradient;
    const auto tensors = learning();
    for (size_t i = 0; i < before_.size(); ++i) tensors[i].detach().copy_(before_[i]);  // the optimizer's moments would move them on
    before_.clear();
    sequence_->steps.fill_(static_cast<double>(step + 1));
    if (sequence_->gate != nullptr && step + 1 == last_step_)
      log_info("lite_lora: task " + std::to_string(sequence_->tasks()) + "'s adapter is " +
               (sequence_->shut() ? "not worth its price and dropped; earlier ones serve" : "kept") + " (gate's logit " +
               std::to_string(sequence_->gate->logit().item<double>()) + ")");
    return false;
  }

 private:
  LiteLoraAdapter& adapter(size_t i) const { return static_cast<LiteLoraAdapter&>(*adapters()[i]); }

  std::vector<at::Tensor> learning() const {
    std::vector<at::Tensor> tensors;
    for (const auto& group : trainable())
      for (const auto& [name, tensor] : group.parameters) tensors.push_back(tensor);
    return tensors;
  }

  void normalise_last();

  LiteLoraConfig config_;
  std::shared_ptr<Sequence> sequence_;
  int64_t last_step_ = 0;
  std::vector<at::Tensor> before_;
};

/// Released: every layer's adapter gets the length 1. Continuous: all are divided by their lengths' mean square's root, which their strength takes over, so that
/// the function stays what it was; one strength could not take over a length of each layer.
void LiteLoraAttachment::normalise_last() {
  double squares = 0;
  for (size_t i = 0; i < adapters().size(); ++i) squares += adapter(i).last_length() * adapter(i).last_length();
  const double common = std::sqrt(squares / static_cast<double>(adapters().size()));
  if (common == 0) return;
  for (size_t i = 0; i < adapters().size(); ++i) {
    const double own = adapter(i).last_length();
    if (config_.handover == Handover::kContinuous) adapter(i).divide_last(common);
    if (config_.handover == Handover::kReleased && own > 0) adapter(i).divide_last(own);
  }
  if (config_.handover == Handover::kContinuous) sequence_->strengths.detach().narrow(0, sequence_->tasks() - 1, 1).mul_(common);
}

/// The options of this run laid over those of the file.
LiteLoraConfig for_next_task(const LiteLoraConfig& before, const ConfigNode& asked) {
  auto section = ConfigNode::parse(JsonSection::of(before).dump(), "adapter_config.json");
  for (const auto& [key, value] : asked.entries) {
    if (key == "name") continue;
    const auto* own = section.find_entry(key);
    const bool of_a_task = key == "price" || key == "selection_share" || key == "noise" || key == "gate_rate" || key == "strength_rate" || key == "handover";
    if (of_a_task) {
      section.set(key, value.scalar, value.origin);
    } else if (own == nullptr || own->kind != ConfigNode::Kind::kScalar || own->scalar != value.scalar) {
      throw InvalidArgument({.where = value.origin, .what = "method." + key + " belongs to the whole sequence of tasks and cannot change in a later one",
                             .hint = "leave it out: the adapter's file says it"});
    }
  }
  return read(section);
}

ConfigNode LiteLoraAttachment::begin_task(const ConfigNode& asked, uint64_t seed) {
  const auto* name = asked.find_entry("name");
  auto next = name != nullptr && name->scalar == "lite_lora" ? for_next_task(config_, asked) : config_;
  config_ = next;
  const at::NoGradGuard no_gradient;
  normalise_last();
  const auto task = sequence_->tasks();
  sequence_->strengths = at::cat({sequence_->strengths.detach(), at::ones({1}, at::kFloat)}).requires_grad_();
  sequence_->gate = std::make_shared<PriceGate>(PriceGate::Options{.noise = config_.noise, .rate = config_.gate_rate});
  sequence_->steps.zero_();
  auto random = at::make_generator<at::CPUGeneratorImpl>(stream_seed(seed, "lite_lora task", static_cast<uint64_t>(task)));
  for (size_t i = 0; i < adapters().size(); ++i) adapter(i).add_task(random);
  next.tasks = task + 1;
  return ConfigNode::parse(JsonSection::of(next).dump(), "lite_lora");
}

std::unique_ptr<Attachment> attach(Places& places, const LiteLoraConfig& config, const AttachContext& context) {
  if (config.tasks > 1 && !context.restoring)
    throw InvalidArgument({.where = "method.tasks", .what = "is written by the program",
                           .hint = "a further task begins with train --init-adapter FOLDER, the folder of the task before"});
  auto random = at::make_generator<at::CPUGeneratorImpl>(context.seed);
  auto sequence = std::make_shared<Sequence>();
  sequence->strengths = at::ones({config.tasks}, at::kFloat).requires_grad_(config.tasks > 1);
  return std::make_unique<LiteLoraAttachment>(places, config, sequence, [&](const LinearSlot& slot) {
    expect_rank(config.rank, slot);
    return std::make_shared<LiteLoraAdapter>(*slot.base(), config.rank, config.tasks, sequence, random);
  });
}

const std::vector<std::string> kKeys = {"price", "selection_share", "noise", "gate_rate", "strength_rate", "handover", "tasks"};

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "LITE_LORA") return std::nullopt;
  nlohmann::json method = {{"name", "lite_lora"}, {"rank", published.at("r")}};
  for (const auto& key : kKeys)
    if (const auto found = published.find(key); found != published.end()) method[key] = *found;
  read_published_targets(published, method);
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

std::vector<std::string> published_keys() {
  auto keys = kKeys;
  keys.push_back("r");
  return keys;
}

}  // namespace

MethodSpec lite_lora_method() {
  return {.name = "lite_lora",
          .paper = "arXiv:2606.28117",
          .use_when = "tasks come one after another: each gets an adapter, and those that are not worth their price are dropped",
          .parameters = "r (in + out) per layer and kept task, + 1 per task",
          .traits = {},
          .attach = [](Places& places, const ConfigNode& section, const AttachContext& context) -> std::unique_ptr<Attachment> {
            return attach(places, read(section), context);
          },
          .from_published = from_published,
          .resolved = [](const ConfigNode& section) { return write_config(read(section), "method"); },
          .published = {.peft_type = "LITE_LORA", .keys = published_keys(), .tensor_marks = {"lite_lora_"}}};
}

}  // namespace graft::peft
