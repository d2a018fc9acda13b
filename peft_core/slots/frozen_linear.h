#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "kernels/ops/products.h"

namespace graft::peft {

/// A weight that never changes: dense, NF4 or GGUF blocks. A method cannot tell which. It owns its layout and its two products.
///
/// On tiles both products read the weight in their own order: a dense one is laid out once for each side that is used, a
/// quantised one a panel at a time by the thread that multiplies with it (docs/decisions/0009-packed-weights.md). A few rows, as when a text
/// is written token by token, are multiplied with the weight as it is stored. Elsewhere LibTorch multiplies, from a shared scratch where the
/// stored weight is no matrix in the dtype of x (0004-expand-into-scratch.md). Where x lies in a GPU's memory the weight is copied there as it
/// is stored, once, and LibTorch multiplies (0014-operators-work-where-their-tensors-lie.md).
/// Calls come from one thread at a time.
class FrozenLinear {
 public:
  FrozenLinear(int64_t out_features, int64_t in_features) : out_features_(out_features), in_features_(in_features) {}
  virtual ~FrozenLinear();
  FrozenLinear(const FrozenLinear&) = delete;
  FrozenLinear& operator=(const FrozenLinear&) = delete;

  int64_t out_features() const { return out_features_; }
  int64_t in_features() const { return in_features_; }

  /// y = x Wᵀ + terms, (N, in) -> (N, out), in x's dtype, without autograd.
  at::Tensor project(const at::Tensor& x, const ops::ProductTerms& terms = {}) const { return product(x, ops::Side::kForward, terms); }
  /// dx = g W + terms, (N, out) -> (N, in).
  at::Tensor project_back(const at::Tensor& g, const ops::ProductTerms& terms = {}) const { return product(g, ops::Side::kBackward, terms); }
  /// Rows [begin, begin + count) as a matrix of `dtype`; may lie in the shared scratch, valid until the next call of any weight.
  at::Tensor rows(int64_t begin, int64_t count, at::ScalarType dtype, at::Device device = at::kCPU) const;
  /// Rows by number, ids (N) int64 -> (N, in), a copy of its own (embeddings).
  at::Tensor gather(const at::Tensor& ids, at::ScalarType dtype) const;
  /// The whole weight in fp32, a copy of its own, (out, in).
  at::Tensor weight() const;

  virtual std::string storage() const = 0;  ///< "fp32", "bf16", "nf4", "Q4_1", ...
  virtual int64_t bytes() const = 0;        ///< memory of the stored weight
  /// Memory that the weight holds while its layer is trained in `compute`: as stored, or packed for x Wᵀ.
  virtual int64_t bytes_in_training(at::ScalarType /*compute*/) const { return bytes(); }
  /// Memory of the second packed copy, for g W, that a dense weight on tiles can have; 0 where there is none to make.
  virtual int64_t second_packing_bytes(at::ScalarType /*compute*/) const { return 0; }
  /// Whether that copy is made when g W is first asked for; until this is called, no. Without it the first one is turned in each product, which
  /// gives the same bits.
  virtual void choose_second_packing(bool /*made*/) const {}
  /// The stored tensor itself where the weight is one (dense); undefined for quantised weights. For audits.
  virtual at::Tensor as_stored() const { return {}; }
  /// For those who have read as_stored(): memory of the file that products do not read any more is given back again.
  virtual void let_stored_go() const {}
  virtual bool lossless() const { return true; }  ///< false: writing a changed weight back loses precision (NF4, blocks)

 protected:
  /// Expands rows into `to` (count, in), contiguous, fp32 or bf16.
  virtual void expand(int64_t begin, int64_t count, at::Tensor& to) const = 0;
  /// rows() in a GPU's memory, from a copy of the stored weight that is made there at the first call and stays.
  virtual at::Tensor rows_on_device(int64_t begin, int64_t count, at::ScalarType dtype, at::Device device) const = 0;
  /// y = x Wᵀ + terms for few rows, from the weight as it lies in memory.
  virtual at::Tensor few_rows_product(const at::Tensor& x, const ops::ProductTerms& terms) const = 0;
  /// Either product on tiles.
  virtual at::Tensor tile_product(const at::Tensor& x, ops::Side side, const ops::ProductTerms& terms) const = 0;

 public:
  /// The weight as it was before it was quantised, fp32, a copy of its own; undefined where that cannot be had. Read from the file once more.
  virtual at::Tensor original() const { return lossless() ? weight() : at::Tensor(); }

 protected:
  int64_t columns(ops::Side side) const { return side == ops::Side::kForward ? out_features_ : in_features_; }

 private:
  at::Tensor product(const at::Tensor& x, ops::Side side, const ops::ProductTerms& terms) const;

  int64_t out_features_, in_features_;
};

/// fp32, bf16 or fp16 as it stands; the tensor may be a view of a mapped file. Then `let_go` gives the file's memory back; it is called when
/// packed copies have taken over.
std::shared_ptr<FrozenLinear> dense_linear(const at::Tensor& weight, std::function<void()> let_go = {});

/// y = x Wᵀ + bias as an autograd operation that gives x a gradient and the weight none. `bias` (out) may be undefined; it gets a
/// gradient where it requires one.
at::Tensor frozen_linear(const at::Tensor& x, const std::shared_ptr<const FrozenLinear>& base, const at::Tensor& bias);

}  // namespace graft::peft
