#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <vector>

namespace graft::peft {

// What combinations do to the values of several tensors of one shape before and while they are summed.

/// The share `density` of values that are largest by size; the others 0. The number kept is rounded down.
at::Tensor keep_largest(const at::Tensor& values, double density);
/// Each value with probability `density`, divided by it.
at::Tensor keep_at_random(const at::Tensor& values, double density, at::Generator& random);

/// Σ weights_i · values_i.
at::Tensor weighted_sum(const std::vector<at::Tensor>& values, const at::Tensor& weights);
/// At each place the mean of weights_i · values_i over those whose sign is the majority's: that of Σ values, or of Σ signs where
/// `by_frequency`; a tie counts as positive.
at::Tensor majority_mean(const std::vector<at::Tensor>& values, const at::Tensor& weights, bool by_frequency);

}  // namespace graft::peft
