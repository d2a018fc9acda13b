#include "peft_core/checkpoint/safetensors_source.h"

#include "kernels/base/error.h"
#include "peft_core/checkpoint/tensor_bytes.h"
#include "peft_core/slots/quantized_linear.h"

namespace graft::peft {

const formats::TensorBytes& SafetensorsSource::stored(const std::string& name) const {
  const auto found = file_.tensors().find(name);
  if (found == file_.tensors().end())
    throw IoError({.where = where_, .what = "lacks the tensor '" + name + "'",
                   .hint = "the weights must belong to the config.json beside them"});
  return found->second;
}

at::ScalarType SafetensorsSource::stored_dtype() const { return tensor("model.embed_tokens.weight").scalar_type(); }

at::Tensor SafetensorsSource::tensor(const std::string& name) const {
  auto owner = std::make_shared<std::vector<std::shared_ptr<const MappedFile>>>(file_.files());
  return as_tensor(stored(name), std::move(owner));
}

at::Tensor SafetensorsSource::small(const std::string& name) const { return tensor(name).to(at::kFloat, false, /*copy=*/true); }

std::shared_ptr<FrozenLinear> SafetensorsSource::matrix(const std::string& name, const BaseStorage& storage,
                                                        bool quantizable) const {
  if (storage.quantize == Quantize::kKeep)
    throw InvalidArgument({.where = "base.quantize", .what = "'keep' is for GGUF files, whose weights are quantised",
                           .expected = "none or nf4 for " + where_, .got = "keep"});
  return frozen_from_dense(tensor(name), storage, quantizable);
}

std::shared_ptr<FrozenLinear> frozen_from_dense(const at::Tensor& stored, const BaseStorage& storage, bool quantizable) {
  if (storage.quantize == Quantize::kNf4 && quantizable) return nf4_linear(stored);
  return dense_linear(stored.to(storage.dtype).contiguous());
}

}  // namespace graft::peft
