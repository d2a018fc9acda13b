#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>

// Private to this folder: operators whose result can be made again from what they keep for their own gradient.
namespace graft::ops {

struct Maker {
  bool (*made)(const torch::autograd::Node& node);          ///< the node is one of this operator
  at::Tensor (*source)(torch::autograd::Node& node);        ///< a tensor that it keeps; tells its results apart
  at::Tensor (*make)(torch::autograd::Node& node);          ///< its result, the same bits as before
  uint32_t first_result = 0;                                ///< results before this one cannot be made; the others are all the same
};

Maker rms_norm_maker();
Maker swiglu_maker();

inline std::array<Maker, 2> all_makers() { return {rms_norm_maker(), swiglu_maker()}; }

/// The tensors that an operator of ours kept.
template <class Operator>
torch::autograd::variable_list kept_by(torch::autograd::Node& node) {
  return static_cast<torch::autograd::CppNode<Operator>&>(node).ctx_.get_saved_variables();
}

/// `make` gets the kept tensors, the first of which is the source.
template <class Operator, at::Tensor (*kMake)(const torch::autograd::variable_list& kept)>
Maker maker() {
  using torch::autograd::Node;
  return {[](const Node& node) { return dynamic_cast<const torch::autograd::CppNode<Operator>*>(&node) != nullptr; },
          [](Node& node) { return kept_by<Operator>(node).front(); }, [](Node& node) { return kMake(kept_by<Operator>(node)); }, 0};
}

}  // namespace graft::ops
