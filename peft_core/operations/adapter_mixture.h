#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "peft_core/methods/method.h"
#include "peft_core/operations/mixed_adapter.h"

namespace graft::peft {

/// Several named adapters on one model, of one method or of different ones, all of which change linear layers only. A pass says which of them
/// work, for all rows or sequence by sequence (ForwardContext::adapters); without a choice each works with its own weight.
/// Training reaches every adapter that works in a pass, each through the rows that chose it.
class AdapterMixture final : public Attachment {
 public:
  using Attach = std::function<std::unique_ptr<Attachment>()>;
  /// Name of an adapter -> its weight in a pass.
  using Weights = std::map<std::string, double>;

  explicit AdapterMixture(Places& places) : places_(places), state_(std::make_shared<MixtureState>()) {}

  /// `attach` puts one adapter on the places, as if it were alone.
  /// Throws InvalidArgument for a name that is there already or that cannot be a folder's, for an adapter that changes more than linear
  /// layers, and what `attach` throws. Then the model is as it was.
  void add(const std::string& name, double weight, const Attach& attach);

  const std::vector<std::string>& names() const { return state_->names; }
  const AdapterWeights& weights() const { return state_->weights; }
  const Attachment& part(size_t index) const { return *parts_[index]; }
  /// Weights of passes without a choice. Throws InvalidArgument for a name that is not there; adapters that are not named get 0.
  void set_weights(const Weights& weights) { state_->weights = weights_of(weights); }

  /// Throws InvalidArgument for a name that is not there.
  std::shared_ptr<const AdapterChoice> choose(const Weights& weights) const { return AdapterChoice::for_all(weights_of(weights)); }
  std::shared_ptr<const AdapterChoice> choose(std::span<const Weights> of_sequences, std::span<const int32_t> lengths) const;
  AdapterWeights weights_of(const Weights& weights) const;

  /// Parameters are called "<adapter>/<layer>.<tensor>".
  std::vector<TrainableGroup> trainable() const override;
  at::Tensor auxiliary_loss() const override;
  bool after_step(int64_t step) override;
  bool parts_may_rest() const override { return true; }  ///< an adapter that no row of a step chooses gets no gradient
  void begin_training(int64_t total_steps) override;
  void before_step(int64_t step, double gradient_scale) override;
  NamedTensors training_state() const override;
  AdapterState state() const override;
  /// Throws: each adapter has a config of its own (write_mixture in checkpoint/mixture_files.h).
  nlohmann::json published_config() const override;
  void detach() override;
  /// Folds the sum with the weights of passes without a choice.
  void merge(at::ScalarType dtype) override;
  void move_to(at::Device device) override;

 private:
  void put_back();

  Places& places_;
  std::shared_ptr<MixtureState> state_;
  std::vector<std::unique_ptr<Attachment>> parts_;
  std::map<LinearSlot*, std::shared_ptr<MixedAdapter>> mixed_;
};

/// A name that can be a folder's and stand in a row of data. Throws InvalidArgument.
void expect_adapter_name(const std::string& name);

}  // namespace graft::peft
