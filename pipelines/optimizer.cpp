#include "pipelines/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "kernels/base/error.h"

namespace graft::pipelines {
namespace {

constexpr int64_t kPadElements = 16;  // one cache line, so that two threads never write to the same one

void expect(bool condition, const std::string& name, const std::string& expected) {
  if (!condition) {
    throw InvalidArgument({.where = name, .what = "cannot be trained", .expected = expected});
  }
}

void check_parameter(const std::string& name, const at::Tensor& parameter) {
  expect(parameter.defined() && parameter.numel() > 0, name, "a tensor that is not empty");
  expect(parameter.scalar_type() == at::kFloat, name, "fp32 values");
  expect(parameter.is_contiguous(), name, "contiguous memory");
  expect(parameter.is_leaf() && parameter.requires_grad(), name, "a leaf tensor that requires a gradient");
}

bool any_nonzero(const float* values, int64_t count) {
  return std::any_of(values, values + count, [](float value) { return value != 0.0f; });
}

}  // namespace

Optimizer::Optimizer(const std::vector<ParameterGroup>& groups, int moments) : moments_(moments) {
  lay_out(groups);
}

Optimizer::~Optimizer() {
  for (auto& slot : slots_) slot.parameter.mutable_grad().reset();
}

void Optimizer::lay_out(const std::vector<ParameterGroup>& groups) {
  std::set<std::string> names;
  std::set<const void*> places;
  for (const auto& group : groups) {
    for (const auto& [name, parameter] : group.parameters) {
      check_parameter(name, parameter);
      expect(slots_.empty() || parameter.device() == slots_.front().parameter.device(), name, "the memory in which the other tensors lie");
      expect(names.insert(name).second, name, "each name once");
      expect(places.insert(parameter.data_ptr()).second, name, "memory that no other trainable tensor has");
      add_slot(group, name, parameter);
    }
  }
  expect(!slots_.empty(), "parameters", "at least one trainable tensor");
  const auto size = slots_.back().offset + (slots_.back().count + kPadElements - 1) / kPadElements * kPadElements;
  gradients_ = at::zeros({size}, slots_.front().parameter.options().requires_grad(false));
  first_moments_.assign(moments_ > 0 ? static_cast<size_t>(size) : 0, 0.0f);
  second_moments_.assign(moments_ > 1 ? static_cast<size_t>(size) : 0, 0.0f);
  find_values();
  for (int64_t i = 0; i < tensor_count(); ++i) {
    const auto& slot = slots_[static_cast<size_t>(i)];
    kernels::append_adamw_pieces(slot.values, slot.offset, slot.count, i, pieces_);
  }
  piece_sums_.assign(pieces_.size(), 0.0);
}

void Optimizer::find_values() {
  host_.reset();
  if (gradients_.is_cpu()) {
    for (auto& slot : slots_) slot.values = slot.parameter.data_ptr<float>();
    return;
  }
  std::vector<at::Tensor> parameters;
  std::vector<int64_t> offsets;
  for (const auto& slot : slots_) parameters.push_back(slot.parameter), offsets.push_back(slot.offset);
  host_ = std::make_unique<HostCopy>(parameters, offsets, gradients_);
  for (auto& slot : slots_) slot.values = host_->values() + slot.offset;
}

void Optimizer::add_slot(const ParameterGroup& group, const std::string& name, const at::Tensor& parameter) {
  Slot slot;
  slot.name = name;
  slot.parameter = parameter;
  slot.parameter.mutable_grad().reset();
  slot.count = parameter.numel();
  if (!slots_.empty()) {
    const auto end = slots_.back().offset + slots_.back().count;
    slot.offset = (end + kPadElements - 1) / kPadElements * kPadElements;
  }
  slot.learning_rate_factor = group.learning_rate_factor;
  slot.weight_decay = group.weight_decay;
  parameter_count_ += slot.count;
  slots_.push_back(std::move(slot));
}

void Optimizer::collect_gradients() {
  const at::NoGradGuard no_grad;
  const float* const flat = gradients_.const_data_ptr<float>();
  for (auto& slot : slots_) {
    auto& grad = slot.parameter.mutable_grad();
    if (grad.defined()) {
      slot.gradient_defined = true;
      if (grad.const_data_ptr() != flat + slot.offset) {
        // Added and not copied: 0 + (-0) is 0, the sum that a gradient added in place also gives.
        auto view = gradients_.narrow(0, slot.offset, slot.count).view(slot.parameter.sizes());
        view.add_(grad);
        grad = view;
      }
    }
  }
  if (host_) host_->read_gradients();
  for (auto& slot : slots_)
    if (!slot.gradient_nonzero) slot.gradient_nonzero = any_nonzero(host_gradients() + slot.offset, slot.count);
}

std::vector<std::string> Optimizer::without_gradient() const {
  std::vector<std::string> names;
  for (const auto& slot : slots_) {
    if (!slot.gradient_defined) names.push_back(slot.name);
  }
  return names;
}

std::vector<std::string> Optimizer::with_zero_gradients_only() const {
  // A tensor may rest until the others have moved away from their start (A of LoRA while B is 0), so all of them must
  // have moved.
  std::vector<std::string> names;
  const bool moved = std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.moved; });
  for (const auto& slot : slots_) {
    if (moved && !slot.gradient_nonzero) names.push_back(slot.name);
  }
  return names;
}

double Optimizer::gradient_norm() {
  return std::sqrt(kernels::sum_of_squares(pieces_, host_gradients(), piece_sums_));
}

void Optimizer::update(double learning_rate, double gradient_scale) {
  for (auto& slot : slots_) ++slot.steps;
  // Methods may have changed either since they were last read.
  if (host_) host_->read_gradients(), host_->read_values();
  apply(learning_rate, static_cast<float>(gradient_scale));
  if (host_) host_->write_values();
  for (auto& slot : slots_) {
    slot.moved = slot.moved || (slot.gradient_nonzero && learning_rate * slot.learning_rate_factor > 0);
    // The values changed behind autograd's back; a graph that still holds them must not be used again.
    slot.parameter.unsafeGetTensorImpl()->bump_version();
  }
}

kernels::AdamWBuffers Optimizer::buffers() {
  const auto start = [](std::vector<float>& moments) { return moments.empty() ? nullptr : moments.data(); };
  return {host_gradients(), start(first_moments_), start(second_moments_)};
}

AdamW::AdamW(const std::vector<ParameterGroup>& groups, const AdamWOptions& options) : Optimizer(groups, 2), options_(options) {}

void AdamW::apply(double learning_rate, float gradient_scale) {
  scalars_.clear();
  for (const auto& slot : slots()) scalars_.push_back(scalars_of(slot, learning_rate));
  kernels::adamw_update(pieces(), scalars_, gradient_scale, buffers());
}

kernels::AdamWScalars AdamW::scalars_of(const Slot& slot, double learning_rate) const {
  const double rate = learning_rate * slot.learning_rate_factor;
  const auto t = static_cast<double>(slot.steps);
  return {
      .decay = static_cast<float>(1.0 - (slot.weight_decay ? rate * options_.weight_decay : 0.0)),
      .one_minus_beta1 = static_cast<float>(1.0 - options_.beta1),
      .beta2 = static_cast<float>(options_.beta2),
      .one_minus_beta2 = static_cast<float>(1.0 - options_.beta2),
      .minus_step_size = static_cast<float>(-rate / (1.0 - std::pow(options_.beta1, t))),
      .root_correction2 = static_cast<float>(std::sqrt(1.0 - std::pow(options_.beta2, t))),
      .epsilon = static_cast<float>(options_.epsilon),
  };
}

void Optimizer::rebuild(const std::vector<ParameterGroup>& groups) {
  const auto old_slots = std::exchange(slots_, {});
  const auto old_first = std::exchange(first_moments_, {}), old_second = std::exchange(second_moments_, {});
  for (const auto& slot : old_slots) slot.parameter.mutable_grad().reset();
  pieces_.clear();
  parameter_count_ = 0;
  lay_out(groups);
  for (auto& slot : slots_) {
    const auto old = std::find_if(old_slots.begin(), old_slots.end(), [&](const Slot& candidate) {
      return candidate.name == slot.name && candidate.parameter.const_data_ptr() == slot.parameter.const_data_ptr() && candidate.count == slot.count;
    });
    if (old == old_slots.end()) continue;
    if (moments_ > 0) std::copy_n(old_first.begin() + old->offset, slot.count, first_moments_.begin() + slot.offset);
    if (moments_ > 1) std::copy_n(old_second.begin() + old->offset, slot.count, second_moments_.begin() + slot.offset);
    slot.steps = old->steps;
    slot.gradient_defined = old->gradient_defined;
    slot.gradient_nonzero = old->gradient_nonzero;
    slot.moved = old->moved;
  }
}

std::vector<Optimizer::State> Optimizer::states() {
  std::vector<State> states;
  for (auto& slot : slots_) {
    const auto in = [&](std::vector<float>& moments) {
      return moments.empty() ? std::span<float>() : std::span(moments.data() + slot.offset, static_cast<size_t>(slot.count));
    };
    states.push_back({slot.name, slot.parameter, in(first_moments_), in(second_moments_), &slot.steps});
  }
  return states;
}

double clip_factor(double norm, double max_norm) {
  if (max_norm <= 0) return 1.0;
  return std::min(1.0, max_norm / (norm + 1e-6));
}

}  // namespace graft::pipelines
