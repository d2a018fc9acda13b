#include "peft_core/methods/sequence/hrm.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/methods/sequence/state_space_scan.h"

namespace graft::peft {
namespace {

constexpr const char* kType = "GRAFT_HRM";  // a type of our own: PEFT has no such method
constexpr double kShortestStep = 1e-4, kLongestStep = 0.1;

class StateSpaceAdapter final : public ActivationAdapter {
 public:
  StateSpaceAdapter(const HrmConfig& config, int64_t width, at::Generator& random) : mode_(config.mode) {
    const int64_t d = config.state_size;
    const auto gaussian = [&](int64_t rows, int64_t columns, int64_t terms) {
      return at::empty({rows, columns}, at::kFloat).normal_(0, 1 / std::sqrt(static_cast<double>(terms)), random).requires_grad_();
    };
    log_a_ = at::arange(1, d + 1, at::kFloat).log_().requires_grad_();
    log_dt_ = at::empty({d}, at::kFloat).uniform_(std::log(kShortestStep), std::log(kLongestStep), random).requires_grad_();
    b_ = gaussian(d, width, width), c_ = gaussian(width, d, d);
    gate_ = at::full({1}, config.gate, at::kFloat).requires_grad_();
  }

  at::Tensor forward(const at::Tensor& h, const ActivationCall& call) const override {
    const auto a = -at::exp(log_a_);
    const auto log_decay = at::softplus(log_dt_).clamp(kShortestStep, kLongestStep) * a;
    const auto input_scale = at::expm1(log_decay) / a;
    const auto u = (mode_ == HrmMode::kReleased ? call.input : h).to(at::kFloat);
    const auto states = scanned(at::mm(u, b_.t()) * input_scale, log_decay, call);
    return h + (at::mm(states, c_.t()) * gate_).to(h.scalar_type());
  }

  NamedTensors parameters() const override {
    return {{"hrm_log_a", log_a_}, {"hrm_log_dt", log_dt_}, {"hrm_b", b_}, {"hrm_c", c_}, {"hrm_gate", gate_}};
  }

 private:
  /// The states of all rows; where sequences are continued they go on from what is remembered, and leave what comes last.
  static at::Tensor scanned(const at::Tensor& v, const at::Tensor& log_decay, const ActivationCall& call) {
    auto states = state_space_scan(v, log_decay, call.lengths);
    if (call.states.empty()) return states;
    std::vector<at::Tensor> before;
    for (const auto* state : call.states) before.push_back(state->defined() ? *state : at::zeros({v.size(1)}, v.options()));
    states = states + carried_states(at::stack(before), log_decay, call.lengths);
    int64_t end = 0;
    for (size_t s = 0; s < call.states.size(); ++s) {
      end += call.lengths[s];
      if (call.lengths[s] > 0) *call.states[s] = states[end - 1].clone();
    }
    return states;
  }

  HrmMode mode_;
  at::Tensor log_a_, log_dt_;  // (d)
  at::Tensor b_, c_;           // (d, C), (C, d)
  at::Tensor gate_;            // (1)
};

class HrmAttachment final : public ActivationAdapters {
 public:
  HrmAttachment(Places& places, const HrmConfig& config, const Make& make) : ActivationAdapters(places, config.blocks, make), config_(config) {}

  nlohmann::json published_config() const override {
    return {{"peft_type", kType},
            {"state_size", config_.state_size},
            {"mode", config_.mode == HrmMode::kPaper ? "paper" : "released"},
            {"gate", config_.gate},
            {"after", config_.blocks.after}};
  }

 private:
  /// Decay would pull time constants to one second and gates shut.
  bool decays(const std::string& kind) const override { return kind == "hrm_b" || kind == "hrm_c"; }

  HrmConfig config_;
};

std::unique_ptr<Attachment> attach(Places& places, const ConfigNode& section, const AttachContext& context) {
  const auto config = read_config<HrmConfig>(section);
  expect_range("method.state_size", static_cast<double>(config.state_size), 1, 4096);
  auto random = at::make_generator<at::CPUGeneratorImpl>(context.seed);
  return std::make_unique<HrmAttachment>(
      places, config, [&](const ActivationSlot& slot) { return std::make_shared<StateSpaceAdapter>(config, slot.width(), random); });
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != kType) return std::nullopt;
  nlohmann::json method = {{"name", "hrm"}};
  for (const auto* key : {"state_size", "mode", "gate", "after"}) method[key] = published.at(key);
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec hrm_method() {
  return {.name = "hrm",
          .paper = "arXiv:2606.26290",
          .use_when = "something has to be counted or remembered along a long text",
          .parameters = "2 d C + 2 d + 1 per block",
          .traits = {.identity_at_start = true, .mergeable = false, .exact_gradient = true},
          .attach = attach,
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<HrmConfig>(config), "method"); },
          .published = {.peft_type = kType, .keys = {"state_size", "mode", "gate", "after"}, .tensor_marks = {".hrm_"}}};
}

}  // namespace graft::peft
