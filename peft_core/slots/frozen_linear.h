#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

namespace graft::peft {

/// A weight that never changes: dense, NF4 or GGUF blocks. A method cannot tell which. It owns its layout and its two products.
///
/// Unless the stored weight already is a matrix in the dtype of x, its rows are expanded into a scratch that all weights share,
/// and multiplied from there (docs/decisions/0004-expand-into-scratch.md). Calls come from one thread at a time.
class FrozenLinear {
 public:
  FrozenLinear(int64_t out_features, int64_t in_features) : out_features_(out_features), in_features_(in_features) {}
  virtual ~FrozenLinear();
  FrozenLinear(const FrozenLinear&) = delete;
  FrozenLinear& operator=(const FrozenLinear&) = delete;

  int64_t out_features() const { return out_features_; }
  int64_t in_features() const { return in_features_; }

  /// y = x Wᵀ, (N, in) -> (N, out), in x's dtype, without bias and without autograd.
  virtual at::Tensor project(const at::Tensor& x) const;
  /// dx = g W, (N, out) -> (N, in).
  virtual at::Tensor project_back(const at::Tensor& g) const;
  /// Rows [begin, begin + count) as a matrix of `dtype`; may lie in the shared scratch, valid until the next call of any weight.
  virtual at::Tensor rows(int64_t begin, int64_t count, at::ScalarType dtype) const;
  /// Rows by number, ids (N) int64 -> (N, in), a copy of its own (embeddings).
  at::Tensor gather(const at::Tensor& ids, at::ScalarType dtype) const;
  /// The whole weight in fp32, a copy of its own, (out, in).
  at::Tensor weight() const;

  virtual std::string storage() const = 0;  ///< "fp32", "bf16", "nf4", "Q4_1", ...
  virtual int64_t bytes() const = 0;        ///< memory of the stored weight
  /// The stored tensor itself where the weight is one (dense); undefined for quantised weights. For audits.
  virtual at::Tensor as_stored() const { return {}; }
  virtual bool lossless() const { return true; }  ///< false: writing a changed weight back loses precision (NF4, blocks)

 protected:
  /// Expands rows into `to` (count, in), contiguous, fp32 or bf16.
  virtual void expand(int64_t begin, int64_t count, at::Tensor& to) const = 0;

 private:
  int64_t out_features_, in_features_;
};

/// fp32, bf16 or fp16 as it stands; the tensor may be a view of a mapped file.
std::shared_ptr<FrozenLinear> dense_linear(const at::Tensor& weight);

/// y = x Wᵀ + bias as an autograd operation that gives x a gradient and the weight none. `bias` (out) may be undefined; it gets a
/// gradient where it requires one.
at::Tensor frozen_linear(const at::Tensor& x, const std::shared_ptr<const FrozenLinear>& base, const at::Tensor& bias);

}  // namespace graft::peft
