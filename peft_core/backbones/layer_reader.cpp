#include "peft_core/backbones/layer_reader.h"

namespace graft::peft {

LinearSlot LayerReader::linear(const std::string& part, int64_t out, int64_t in, bool quantizable) const {
  const auto name = prefix + part;
  expect_shape(weights, name + ".weight", {out, in});
  at::Tensor bias;
  if (weights.has(name + ".bias")) expect_shape(weights, name + ".bias", {out}), bias = weights.small(name + ".bias");
  return {name, weights.matrix(name + ".weight", storage, quantizable), bias};
}

at::Tensor LayerReader::tensor(const std::string& name, const std::vector<int64_t>& shape) const {
  expect_shape(weights, prefix + name, shape);
  return weights.small(prefix + name);
}

}  // namespace graft::peft
