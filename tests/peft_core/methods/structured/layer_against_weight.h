#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <string>

#include "tests/peft_core/methods/method_fixture.h"

namespace graft::testing {

/// One layer's saved tensors by their own names, float64 leaves.
using ExactLeaves = std::map<std::string, at::Tensor>;

/// The weight (out, in) that the layer should have, in float64, from its frozen weight and its leaves, as the paper writes it.
using EffectiveWeight = std::function<at::Tensor(const at::Tensor& frozen, const ExactLeaves& leaves)>;

/// Compares the layer's outputs and all its gradients, x's too, with those of a dense float64 layer of that weight, for `rows` random rows.
/// The bound is relative: `terms` is the length of the longest chain of sums, each rounded to 2^-24.
void expect_layer_of_weight(const Adapted& adapted, const std::string& layer, const EffectiveWeight& weight, int64_t rows, double terms);

}  // namespace graft::testing
