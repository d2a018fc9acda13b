#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

// Our operators exist in fp32 and bf16 only, too coarse for central differences of single elements. So an operator is held against a
// float64 composition of ATen operators: its result, and its gradient against the composition's autograd, for the same (rounded)
// inputs. That the composition's own gradient is right is shown by central differences in float64.
namespace graft::testing {

using Tensors = std::vector<at::Tensor>;
using TensorFunction = std::function<at::Tensor(const Tensors&)>;

/// Largest difference over the largest expected value, or over `terms` where that is larger; 0 for nothing, infinite for other sizes
/// or NaN. `terms`: the size of the terms whose difference the value is; rounding errs by their size, however little is left.
inline double relative_error(const at::Tensor& actual, const at::Tensor& expected, double terms = 0) {
  if (actual.sizes() != expected.sizes()) return INFINITY;
  if (expected.numel() == 0) return 0;
  const auto a = actual.detach().to(at::kDouble), e = expected.detach().to(at::kDouble);
  const double difference = (a - e).abs().max().item<double>(), largest = e.abs().max().item<double>();
  if (!std::isfinite(difference)) return INFINITY;
  return difference == 0 ? 0 : difference / std::max({largest, terms, 1e-300});
}

/// The same values as fresh leaves of `dtype`; those that required a gradient require one again.
inline Tensors leaves_like(const Tensors& inputs, at::ScalarType dtype) {
  Tensors leaves;
  for (const auto& input : inputs) {
    auto leaf = input.detach().to(dtype).clone();
    leaves.push_back(leaf.requires_grad_(input.requires_grad()));
  }
  return leaves;
}

/// A fixed direction, the same for all calls with the same sizes.
inline at::Tensor direction_like(const at::Tensor& tensor, int64_t number = 0) {
  const auto index = at::arange(tensor.numel(), tensor.options().dtype(at::kDouble).requires_grad(false));
  return at::sin(index * 0.7548776662 + static_cast<double>(number + 1)).view(tensor.sizes());
}

struct OperatorErrors {
  double output = 0;
  std::vector<double> gradients;  ///< one an input that requires a gradient, in order

  double worst() const {
    double worst = output;
    for (const auto error : gradients) worst = std::max(worst, error);
    return worst;
  }
};

/// The gradient that compare_with_float64 sends into a result like `y`.
inline at::Tensor upstream_of(const at::Tensor& y) { return direction_like(y).to(y.scalar_type()); }

/// Runs both functions on the inputs as they are (tested) and in float64 (reference), and compares results and gradients.
/// `gradient_terms`: relative_error's `terms` for the gradient of each input; 0 where missing.
inline OperatorErrors compare_with_float64(const TensorFunction& tested, const TensorFunction& reference, const Tensors& inputs,
                                           const std::vector<double>& gradient_terms = {}) {
  Tensors own;
  for (const auto& input : inputs) own.push_back(input.detach().clone().requires_grad_(input.requires_grad()));
  const auto exact = leaves_like(inputs, at::kDouble);
  const auto y = tested(own), expected = reference(exact);
  OperatorErrors errors{relative_error(y, expected), {}};
  if (!y.requires_grad()) return errors;
  const auto upstream = upstream_of(y);
  torch::autograd::backward({y}, {upstream});
  torch::autograd::backward({expected}, {upstream.to(at::kDouble)});
  for (size_t i = 0; i < own.size(); ++i) {
    if (!own[i].requires_grad()) continue;
    const bool both = own[i].grad().defined() && exact[i].grad().defined();
    const double terms = i < gradient_terms.size() ? gradient_terms[i] : 0;
    errors.gradients.push_back(both ? relative_error(own[i].grad(), exact[i].grad(), terms) : INFINITY);
  }
  return errors;
}

/// Largest relative difference between the float64 function's autograd and central differences, along a few directions.
/// With h = 1e-5 truncation (h²) and rounding (1e-16 / h) both stay near 1e-10 of values near 1.
inline double central_difference_error(const TensorFunction& reference, const Tensors& inputs, int64_t directions = 3) {
  const auto exact = leaves_like(inputs, at::kDouble);
  const auto y = reference(exact);
  const auto upstream = direction_like(y);
  torch::autograd::backward({y}, {upstream});
  double worst = 0;
  constexpr double h = 1e-5;
  at::NoGradGuard no_gradient;
  for (size_t i = 0; i < exact.size(); ++i) {
    if (!exact[i].requires_grad()) continue;
    for (int64_t d = 0; d < directions; ++d) {
      const auto direction = direction_like(exact[i], d);
      const auto value = [&](double step) {
        auto moved = exact;
        moved[i] = exact[i] + direction * step;
        return (reference(moved) * upstream).sum().item<double>();
      };
      const double slope = (value(h) - value(-h)) / (2 * h), expected = (exact[i].grad() * direction).sum().item<double>();
      const double scale = (exact[i].grad() * direction).abs().sum().item<double>() + 1e-3;
      worst = std::max(worst, std::abs(slope - expected) / scale);
    }
  }
  return worst;
}

/// For a function that exists in fp32 only: the slope of `loss` (a double, made anew at each call) along the gradient of `leaf`,
/// over that gradient's length; 1 if the gradient is right. Five points, so that the step can be large beside fp32's rounding.
inline double slope_along_gradient(const std::function<double()>& loss, at::Tensor leaf, const at::Tensor& gradient, double h) {
  at::NoGradGuard no_gradient;
  const double length = gradient.norm().item<double>();
  const auto start = leaf.detach().clone(), unit = gradient / length;
  const auto value = [&](double step) {
    leaf.detach().copy_(start + unit * step);
    return loss();
  };
  const double slope = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h);
  leaf.detach().copy_(start);
  return slope / length;
}

}  // namespace graft::testing
