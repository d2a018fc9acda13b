#pragma once

#include <memory>
#include <string>
#include <vector>

#include "peft_core/slots/adapter.h"

namespace graft::peft {

/// What all layers of a mixture share.
struct MixtureState {
  std::vector<std::string> names;
  AdapterWeights weights;  ///< of a pass that chooses none
};

/// Several adapters on one linear layer. With weights w the layer gives
///   y = base(x) + Σ w_i (adapter_i(x) − base(x)),
/// the weights of each row being those of the call's AdapterChoice.
///
/// One adapter alone with weight 1 is called as if it stood there by itself. Adapters that add a low-rank product share one product of the
/// base, whatever rows they work on; for others the rows are taken apart and each adapter multiplies with the base itself.
class MixedAdapter final : public Adapter {
 public:
  explicit MixedAdapter(std::shared_ptr<const MixtureState> state) : state_(std::move(state)) {}

  /// Null: adapter number `index` leaves this layer alone.
  void set(size_t index, std::shared_ptr<const Adapter> part);
  const std::shared_ptr<const Adapter>& part(size_t index) const { return parts_[index]; }

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override;
  at::Tensor merged_weight(const FrozenLinear& base) const override;
  at::Tensor merged_bias(const at::Tensor& bias) const override;
  NamedTensors parameters() const override;
  NamedTensors fixed() const override;

 private:
  struct Working {
    size_t index;
    double weight;
  };
  std::vector<Working> working(const AdapterWeights& weights) const;
  at::Tensor weighted_sum(const at::Tensor& x, const std::vector<Working>& working, const SlotCall& call) const;
  at::Tensor shared_product(const at::Tensor& x, const std::vector<AdapterChoice::Rows>& runs, const SlotCall& call) const;
  bool all_low_rank(const std::vector<AdapterChoice::Rows>& runs, bool training) const;
  at::Tensor row_by_row(const at::Tensor& x, const std::vector<AdapterChoice::Rows>& runs, const SlotCall& call) const;
  std::string prefix(size_t index) const { return state_->names[index] + "/"; }

  std::shared_ptr<const MixtureState> state_;
  std::vector<std::shared_ptr<const Adapter>> parts_;
};

}  // namespace graft::peft
