#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/adamw/adamw.h"
#include "pipelines/host_copy.h"
#include "pipelines/task.h"

namespace graft::pipelines {

/// An update over many small tensors as one pass over flat buffers; the rules are AdamW below and Sgd (pipelines/sgd.h).
///
/// Gradients and moments of all tensors lie one after the other in fp32 buffers; each tensor's grad becomes a
/// view of the first, so autograd adds into it and nothing is allocated after the first step. Parameters stay where
/// they are. Those in a GPU's memory are updated by the processor too, through flat copies of their values and gradients.
/// Cost       the norm reads the gradients once; the update reads and writes all buffers once. Parallel over
///            OpenMP's threads. Deterministic: pieces and the order of sums do not depend on threads.
/// Throws     InvalidArgument for a tensor that is no contiguous fp32 leaf, is empty, lies in another memory than the
///            first, or occurs twice (name or storage).
class Optimizer {
 public:
  virtual ~Optimizer();  ///< takes the views out of the tensors' grad
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Takes in what backward left in each tensor's grad. Call after the last backward of a step.
  void collect_gradients();
  /// Names of tensors whose grad has never been defined.
  std::vector<std::string> without_gradient() const;
  /// Names of tensors that have been updated before with a learning rate above 0 and have only seen gradients of zeros.
  std::vector<std::string> with_zero_gradients_only() const;

  /// 2-norm over all gradients, summed in double.
  double gradient_norm();
  /// One step with all gradients multiplied by `gradient_scale` first (1 changes nothing); leaves the gradients zeroed.
  void update(double learning_rate, double gradient_scale);
  /// The groups after a method replaced parameters: tensors with the same name and storage keep their moments, others
  /// start anew.
  void rebuild(const std::vector<ParameterGroup>& groups);

  /// One tensor with its state, for checkpoints; the spans see the optimizer's own memory. A moment that the rule does not keep is empty.
  struct State {
    std::string name;
    at::Tensor parameter;
    std::span<float> first_moment, second_moment;
    int64_t* steps;  ///< updates so far, for the bias correction
  };
  std::vector<State> states();
  int64_t parameter_count() const { return parameter_count_; }
  int64_t tensor_count() const { return static_cast<int64_t>(slots_.size()); }

 protected:
  /// `moments`: how many buffers the rule keeps beside the gradients, 0 to 2.
  Optimizer(const std::vector<ParameterGroup>& groups, int moments);

  struct Slot {
    std::string name;
    at::Tensor parameter;
    float* values = nullptr;  ///< where the rule finds them
    int64_t offset = 0, count = 0;
    double learning_rate_factor = 1;
    bool weight_decay = true;
    int64_t steps = 0;
    bool gradient_defined = false, gradient_nonzero = false, moved = false;
  };
  using Piece = kernels::AdamWPiece;

  const std::vector<Slot>& slots() const { return slots_; }
  const std::vector<Piece>& pieces() const { return pieces_; }  ///< of all slots; `tensor` is the slot's index
  /// A moment that the rule does not keep is null.
  kernels::AdamWBuffers buffers();
  /// The rule: one step of all pieces, with their gradients left at 0.
  virtual void apply(double learning_rate, float gradient_scale) = 0;

 private:
  void lay_out(const std::vector<ParameterGroup>& groups);
  void add_slot(const ParameterGroup& group, const std::string& name, const at::Tensor& parameter);
  void find_values();
  float* host_gradients() { return host_ ? host_->gradients() : gradients_.data_ptr<float>(); }

  int moments_;
  std::vector<Slot> slots_;
  std::vector<Piece> pieces_;
  std::vector<double> piece_sums_;
  at::Tensor gradients_;                               // flat, padded to 64 bytes a tensor, where the parameters lie
  std::unique_ptr<HostCopy> host_;                     // null where that is the processor's memory
  std::vector<float> first_moments_, second_moments_;  // same layout; empty where the rule keeps none
  int64_t parameter_count_ = 0;
};

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double weight_decay = 0.0;  ///< decoupled; for groups that decay
};

/// Equations  m += (1 - b1)(g - m);  v = b2 v + (1 - b2) g²;
///            p = p(1 - lr wd) - lr / (1 - b1^t) · m / (sqrt(v / (1 - b2^t)) + eps)
/// Source     Loshchilov and Hutter 2019, arXiv:1711.05101; rounding and order of operations as in torch.optim.AdamW.
class AdamW final : public Optimizer {
 public:
  AdamW(const std::vector<ParameterGroup>& groups, const AdamWOptions& options);

 private:
  void apply(double learning_rate, float gradient_scale) override;
  kernels::AdamWScalars scalars_of(const Slot& slot, double learning_rate) const;

  AdamWOptions options_;
  std::vector<kernels::AdamWScalars> scalars_;  // of this step, one a slot
};

/// Factor that brings a gradient of norm `norm` to at most `max_norm`: max_norm / (norm + 1e-6) where that is below 1,
/// else 1.
/// Source   torch.nn.utils.clip_grad_norm_. max_norm 0 turns clipping off.
double clip_factor(double norm, double max_norm);

}  // namespace graft::pipelines
