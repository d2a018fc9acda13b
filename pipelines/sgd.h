#pragma once

#include "pipelines/optimizer.h"

namespace graft::pipelines {

struct SgdOptions {
  double momentum = 0.9;      ///< 0: plain descent, which keeps no state
  double weight_decay = 0.0;  ///< coupled: added to the gradient; for groups that decay
};

/// Stochastic gradient descent with momentum (not Nesterov's), without dampening.
///
/// Equations  g <- g + wd p;  b = momentum b + g (the first b is g);  p = p - lr b
/// State      b is the first moment of Optimizer::State; there is no second one.
/// Source     rounding and order of operations as in torch.optim.SGD.
class Sgd final : public Optimizer {
 public:
  Sgd(const std::vector<ParameterGroup>& groups, const SgdOptions& options);

 private:
  void apply(double learning_rate, float gradient_scale) override;
  void update_piece(const Piece& piece, const kernels::AdamWBuffers& buffers, double learning_rate, float gradient_scale) const;

  SgdOptions options_;
};

}  // namespace graft::pipelines
