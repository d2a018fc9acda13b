#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "peft_core/methods/method.h"

namespace graft::testing {

/// A model of one layer whose inputs, and whose loss's gradient, a test chooses: for methods that start from samples.
struct OneLayer {
  peft::LinearSlot slot;
  peft::Places places;

  explicit OneLayer(const at::Tensor& weight, const at::Tensor& bias = {}) : slot(kName, peft::dense_linear(weight), bias) {
    places.linears = {&slot};
  }
  OneLayer(const OneLayer&) = delete;
  OneLayer& operator=(const OneLayer&) = delete;

  static constexpr const char* kName = "model.layers.0.mlp.up_proj";
};

/// Gives the layer each of the inputs in turn; `gradients` (as many) are ∂L/∂y.
class ChosenSamples final : public peft::Calibration {
 public:
  ChosenSamples(const OneLayer& layer, std::vector<at::Tensor> inputs, std::vector<at::Tensor> gradients = {})
      : layer_(layer), inputs_(std::move(inputs)), gradients_(std::move(gradients)) {}

  void run(bool gradients) const override {
    const at::AutoGradMode mode(gradients);
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const auto y = layer_.slot.forward(inputs_[i], {});
      if (gradients && y.requires_grad()) torch::autograd::backward({y}, {gradients_[i]});
    }
  }

 private:
  const OneLayer& layer_;
  std::vector<at::Tensor> inputs_, gradients_;
};

/// Orthonormal columns, random.
inline at::Tensor orthonormal_columns(int64_t rows, int64_t columns) { return std::get<0>(at::linalg_qr(at::randn({rows, columns}))); }

}  // namespace graft::testing
