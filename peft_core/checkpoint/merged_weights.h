#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "peft_core/backbones/causal_lm.h"
#include "peft_core/operations/update_rounding.h"

namespace graft::peft {

/// One tensor of a model into which its adapter is folded.
struct MergedTensor {
  std::string name;                   ///< as published: "model.layers.0.mlp.up_proj.weight"
  std::vector<int64_t> shape;
  std::function<at::Tensor()> value;  ///< made anew at each call: fp32 where anything had to be computed, else the stored tensor itself
  /// Where an adapter changes a matrix: it without the adapter, fp32, and what the adapter reads of its inputs, rows (r, in). Else empty.
  std::function<at::Tensor()> base = {};
  std::function<at::Tensor()> directions = {};
};

/// All tensors of a model in its order, with what its slots and parameters hold now: base weights in fp32 plus the adapters' updates in
/// fp32, trained norms and biases, replaced matrices. The model has to outlive the result. A head that is still tied is left out.
std::vector<MergedTensor> merged_tensors(const CausalLm& model);

/// The same for the linear layers and parameters of any model, the head left out. The places have to outlive the result.
std::vector<MergedTensor> merged_tensors(const Places& places);

/// False where the config unties the head, or an adapter or a saved matrix gave it a weight of its own.
bool head_stays_tied(const CausalLm& model);

/// What storing a tensor did to it.
struct TensorRounding {
  std::string name;
  double largest = 0;           ///< max |stored − exact|
  double squared_error = 0;     ///< Σ (stored − exact)²
  double squared_weight = 0;    ///< Σ exact²
  KeptUpdate kept;              ///< of the adapter's update, where there is one
};

TensorRounding rounding_of(const std::string& name, const at::Tensor& exact, const at::Tensor& stored);

/// The values of a tensor as they go into storage of `type`: `exact` itself, or what rounded_for_update() makes of it where an adapter changes
/// it and `rounding` says so.
at::Tensor before_rounding(const MergedTensor& tensor, const at::Tensor& exact, Rounding rounding, StoredType type);

/// Throws InvalidArgument if a stored value is not finite: the weight lay beyond what `type` can hold.
void expect_finite(const std::string& name, const at::Tensor& stored, const std::string& type);

}  // namespace graft::peft
