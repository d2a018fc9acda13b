#include "pipelines/cloud/dense.h"

#include <ATen/ATen.h>

#include <cmath>

namespace graft::pipelines {

Dense::Dense(int64_t in, int64_t out, at::Generator& draw) {
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  weight = at::empty({out, in}, at::kFloat).uniform_(-bound, bound, draw).requires_grad_();
  bias = at::empty({out}, at::kFloat).uniform_(-bound, bound, draw).requires_grad_();
}

at::Tensor Dense::forward(const at::Tensor& x) const { return at::linear(x, weight, bias); }

void Dense::scale(double factor) {
  const at::NoGradGuard no_gradient;
  weight.mul_(factor), bias.mul_(factor);
}

void Dense::list(const std::string& name, peft::NamedTensors& leaves) const {
  leaves.emplace_back(name + ".weight", weight);
  leaves.emplace_back(name + ".bias", bias);
}

RowNorm::RowNorm(int64_t width)
    : weight(at::ones({width}, at::kFloat).requires_grad_()), bias(at::zeros({width}, at::kFloat).requires_grad_()) {}

at::Tensor RowNorm::forward(const at::Tensor& x) const { return at::layer_norm(x, {weight.size(0)}, weight, bias, 1e-5); }

void RowNorm::list(const std::string& name, peft::NamedTensors& leaves) const {
  leaves.emplace_back(name + ".weight", weight);
  leaves.emplace_back(name + ".bias", bias);
}

int64_t element_count(const peft::NamedTensors& tensors) {
  int64_t count = 0;
  for (const auto& [name, tensor] : tensors) count += tensor.numel();
  return count;
}

}  // namespace graft::pipelines
