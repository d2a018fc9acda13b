#pragma once

#include "peft_core/backbones/weight_source.h"
#include "peft_core/formats/safetensors.h"

namespace graft::peft {

/// Weights of a Hugging Face folder, under the names as they stand there.
class SafetensorsSource final : public WeightSource {
 public:
  SafetensorsSource(formats::SafetensorsFile file, std::string where) : file_(std::move(file)), where_(std::move(where)) {}

  bool has(const std::string& name) const override { return file_.tensors().contains(name); }
  at::ScalarType stored_dtype() const override;
  std::vector<int64_t> shape(const std::string& name) const override { return stored(name).shape; }
  at::Tensor small(const std::string& name) const override;
  std::shared_ptr<FrozenLinear> matrix(const std::string& name, const BaseStorage& storage, bool quantizable) const override;

 private:
  const formats::TensorBytes& stored(const std::string& name) const;
  at::Tensor tensor(const std::string& name) const;

  formats::SafetensorsFile file_;
  std::string where_;
};

/// A dense weight held as `storage` asks: the stored tensor itself where it already has the wanted dtype. `original` as for nf4_linear().
std::shared_ptr<FrozenLinear> frozen_from_dense(const at::Tensor& stored, const BaseStorage& storage, bool quantizable,
                                                std::function<at::Tensor()> original = {});

}  // namespace graft::peft
