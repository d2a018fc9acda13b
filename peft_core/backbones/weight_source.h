#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "peft_core/slots/frozen_linear.h"

namespace graft::peft {

enum class Quantize { kNone, kNf4, kKeep };

/// How the frozen base is held in memory and in what it computes.
struct BaseStorage {
  at::ScalarType dtype = at::kFloat;      ///< of dense weights: fp32, bf16 or fp16
  Quantize quantize = Quantize::kNone;
  at::ScalarType compute = at::kFloat;    ///< of activations and products
};

/// A checkpoint's tensors under the Hugging Face names, whatever file they lie in.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual bool has(const std::string& name) const = 0;
  /// The stored shape. Throws IoError naming the file if the tensor is missing.
  virtual std::vector<int64_t> shape(const std::string& name) const = 0;
  /// Of the file's matrices: fp32, bf16, fp16, or kByte for GGUF blocks of fewer bits.
  virtual at::ScalarType stored_dtype() const { return at::kFloat; }
  /// fp32 copy of a small tensor (norms, biases).
  virtual at::Tensor small(const std::string& name) const = 0;
  /// A frozen matrix held as `storage` says. Embeddings and heads are never held as NF4 (`quantizable` false).
  virtual std::shared_ptr<FrozenLinear> matrix(const std::string& name, const BaseStorage& storage, bool quantizable) const = 0;
};

/// Throws InvalidArgument naming the tensor if its stored shape is another.
void expect_shape(const WeightSource& weights, const std::string& name, const std::vector<int64_t>& shape);

}  // namespace graft::peft
