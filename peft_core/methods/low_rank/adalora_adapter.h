#pragma once

#include <ATen/core/Generator.h>

#include <array>

#include "peft_core/methods/low_rank/factor_adapter.h"

namespace graft::peft {

/// One layer of AdaLoRA: triplets of a row of A, a value of E and a column of B; how much each matters; which are left.
class AdaloraAdapter final : public FactorAdapter {
 public:
  /// A (r, in) and B (out, r) normal with deviation 0.02, E (r, 1) zero. r may be 0, for a layer that lost all.
  AdaloraAdapter(const FrozenLinear& base, int64_t rank, double scale, double dropout, at::Generator& random);

  /// The triplets that are left; nothing where a file says that none is.
  std::optional<LowRankUpdate> low_rank() const override;
  NamedTensors parameters() const override { return rank() > 0 ? leaves() : NamedTensors{}; }
  NamedTensors fixed() const override { return rank() > 0 ? NamedTensors{} : leaves(); }
  int64_t rank() const { return a_.size(0); }

  /// ‖A Aᵀ − I‖ + ‖Bᵀ B − I‖, Frobenius.
  at::Tensor deviation_from_orthogonal() const;

  /// Makes room for the smoothed scores and the mask; all triplets are left.
  void begin_scoring();
  /// Keeps the gradients, times `scale`, until update_scores().
  void keep_gradients(double scale);
  /// |value · gradient| of every leaf's element, smoothed over the steps, and how far it strays from the smoothed. Without gradients: nothing.
  void update_scores(double beta1, double beta2);
  void forget_scores();
  /// Of each triplet (r): the product of both, of E plus the means over A's row and B's column.
  at::Tensor triplet_scores() const;

  /// Triplets whose mask (r) is 0 get the value 0.
  void zero_values(const at::Tensor& mask);
  /// The same for good: `mask` is the layer's allocation.
  void allocate(const at::Tensor& mask);
  void apply_allocation() { zero_values(mask_); }
  bool allocated() const;
  /// Which triplets the allocation left, (r) of 0 and 1.
  const at::Tensor& mask() const { return mask_; }
  /// The leaves cut to the triplets that the allocation left.
  NamedTensors left() const;

  /// Scores and mask, under short names.
  NamedTensors scoring_state() const;

 private:
  NamedTensors leaves() const { return {{"lora_A", a_}, {"lora_B", b_}, {"lora_E", e_}}; }
  /// Numbers of the triplets that are left.
  const at::Tensor& left_numbers() const;

  at::Tensor a_, b_, e_;
  double scale_, dropout_;
  std::array<at::Tensor, 3> gradients_, sensitivity_, uncertainty_;  // of A, B, E
  at::Tensor mask_;
  mutable at::Tensor left_;
  mutable int64_t left_version_ = -1;
};

}  // namespace graft::peft
