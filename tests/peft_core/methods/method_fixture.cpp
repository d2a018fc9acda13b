#include "tests/peft_core/methods/method_fixture.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <torch/csrc/autograd/autograd.h>

#include <stdexcept>

#include "kernels/base/error.h"

namespace graft::testing {

at::Tensor Adapted::logits(const TinyBatch& batch) const {
  at::NoGradGuard no_gradient;
  return model->logits(model->hidden_states(batch.stream(), {}));
}

at::Tensor Adapted::loss(const TinyBatch& batch, bool training, uint64_t seed, peft::Checkpointing checkpointing) const {
  const peft::ForwardContext context{.training = training, .dropout_seed = seed};
  return model->loss_sum(model->hidden_states(batch.stream(), context, checkpointing), batch.targets);
}

double Adapted::exact_loss(const TinyBatch& batch) const {
  at::NoGradGuard no_gradient;
  return model->target_nll(model->hidden_states(batch.stream(), {}), batch.targets).to(at::kDouble).sum().item<double>();
}

peft::NamedTensors Adapted::trainable() const {
  peft::NamedTensors all;
  for (const auto& group : attachment->trainable())
    for (const auto& parameter : group.parameters) all.push_back(parameter);
  return all;
}

void Adapted::clear_gradients() const {
  for (auto [name, tensor] : trainable()) tensor.mutable_grad() = at::Tensor();
}

void Adapted::train(const TinyBatch& batch, int64_t steps, double rate) const {
  for (int64_t step = 0; step < steps; ++step) {
    clear_gradients();
    torch::autograd::backward({loss(batch, true, static_cast<uint64_t>(step))});
    for (const auto& [name, tensor] : trainable())
      if (tensor.grad().defined()) tensor.detach().sub_(tensor.grad() * rate);
    attachment->after_step(step);
  }
}

void Adapted::train_a_run(const TinyBatch& batch, int64_t steps, double rate) const {
  attachment->begin_training(steps);
  for (int64_t step = 0; step < steps; ++step) {
    clear_gradients();
    auto whole = loss(batch, true, static_cast<uint64_t>(step));
    if (const auto extra = attachment->auxiliary_loss(); extra.defined()) whole = whole + extra;
    torch::autograd::backward({whole});
    attachment->before_step(step, 1.0);
    for (const auto& [name, tensor] : trainable())
      if (tensor.grad().defined()) tensor.detach().sub_(tensor.grad() * rate);
    attachment->after_step(step);
  }
}

void Adapted::move_to(at::Device device) const {
  model->move_to(device);
  attachment->move_to(device);
}

void Adapted::disturb(uint64_t seed) const {
  auto random = at::make_generator<at::CPUGeneratorImpl>(seed);
  for (const auto& [name, tensor] : trainable())
    tensor.detach().add_(at::randn(tensor.sizes(), random, tensor.options().requires_grad(false)) * 0.05);
}

const peft::LinearSlot& slot_of(const Adapted& adapted, const std::string& name) {
  for (const auto* slot : adapted.model->places().linears)
    if (slot->name() == name) return *slot;
  throw std::runtime_error("no slot " + name);
}

void TinyCalibration::run(bool gradients) const {
  const at::AutoGradMode mode(gradients);
  const auto batch = tiny_batch();
  const auto hidden = model_.hidden_states(batch.stream(), {});
  if (!gradients) return;
  const auto loss = model_.loss_sum(hidden, batch.targets);
  if (loss.requires_grad()) torch::autograd::backward({loss});
}

std::unique_ptr<peft::Attachment> attach(peft::CausalLm& model, const std::string& method, const ConfigNode& section, uint64_t seed) {
  const TinyCalibration calibration(model);
  return peft::find_method(method).attach(model.places(), section, peft::AttachContext(seed, &calibration));
}

ConfigNode method_section(const std::string& method, const std::string& options) {
  return ConfigNode::parse("name: " + method + "\n" + options, "method");
}

Adapted adapt(const std::string& method, const std::string& options, const std::string& kind, const peft::BaseStorage& storage,
              uint64_t seed) {
  Adapted adapted{tiny_model(kind, storage), nullptr};
  adapted.attachment = attach(*adapted.model, method, method_section(method, options), seed);
  return adapted;
}

std::string refusal(const std::string& method, const std::string& options, const std::string& kind) {
  try {
    adapt(method, options, kind);
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace graft::testing
