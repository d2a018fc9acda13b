#include "peft_core/checkpoint/safetensors_source.h"

#include <algorithm>

#include "kernels/base/error.h"
#include "peft_core/checkpoint/tensor_bytes.h"
#include "peft_core/slots/quantized_linear.h"

namespace graft::peft {
namespace {

void let_go(const std::vector<std::shared_ptr<const MappedFile>>& files, std::span<const std::byte> part) {
  for (const auto& file : files)
    if (file->holds(part.data())) file->let_go(part);
}

}  // namespace

const formats::TensorBytes& SafetensorsSource::stored(const std::string& name) const {
  const auto found = file_.tensors().find(name);
  if (found == file_.tensors().end())
    throw IoError({.where = where_, .what = "lacks the tensor '" + name + "'",
                   .hint = "the weights must belong to the config.json beside them"});
  return found->second;
}

/// That of the largest tensor.
at::ScalarType SafetensorsSource::stored_dtype() const {
  const auto smaller = [](const auto& a, const auto& b) { return a.second.bytes.size() < b.second.bytes.size(); };
  const auto largest = std::max_element(file_.tensors().begin(), file_.tensors().end(), smaller);
  return largest == file_.tensors().end() ? at::kFloat : tensor(largest->first).scalar_type();
}

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
  const auto values = tensor(name);
  const bool as_it_stands = values.scalar_type() == storage.dtype && !(storage.quantize == Quantize::kNf4 && quantizable);
  const auto give_back = [files = file_.files(), part = stored(name).bytes] { let_go(files, part); };
  if (as_it_stands) return dense_linear(values, give_back);
  auto copy = frozen_from_dense(values, storage, quantizable, [values] { return values; });
  give_back();  // `original` reads it from the file again
  return copy;
}

std::shared_ptr<FrozenLinear> frozen_from_dense(const at::Tensor& stored, const BaseStorage& storage, bool quantizable,
                                                std::function<at::Tensor()> original) {
  if (storage.quantize == Quantize::kNf4 && quantizable) return nf4_linear(stored, /*block_size=*/64, std::move(original));
  return dense_linear(stored.to(storage.dtype).contiguous());
}

}  // namespace graft::peft
