#pragma once

#include <map>
#include <string>

#include "peft_core/backbones/weight_source.h"
#include "peft_core/backbones/decoder_config.h"

namespace graft::bench {

/// The shape of SmolLM2-135M.
peft::DecoderConfig smollm2_config();

/// Random weights in `dtype` under the Hugging Face names, of the size that trained ones have.
class RandomWeights final : public peft::WeightSource {
 public:
  RandomWeights(const peft::DecoderConfig& config, at::ScalarType dtype);
  /// The same values in another dtype.
  RandomWeights(const RandomWeights& others, at::ScalarType dtype);

  bool has(const std::string& name) const override { return tensors_.contains(name); }
  std::vector<int64_t> shape(const std::string& name) const override { return tensor(name).sizes().vec(); }
  at::Tensor small(const std::string& name) const override;
  std::shared_ptr<peft::FrozenLinear> matrix(const std::string& name, const peft::BaseStorage& storage, bool quantizable) const override;

  const at::Tensor& tensor(const std::string& name) const { return tensors_.at(name); }

 private:
  std::map<std::string, at::Tensor> tensors_;
};

}  // namespace graft::bench
