#include "pipelines/sgd.h"

#include <ATen/Parallel.h>

namespace graft::pipelines {
namespace {

/// Scalars of one update, rounded once, as torch does before its kernels.
struct SgdScalars {
  float weight_decay, momentum, minus_rate, gradient_scale;
};

/// One update of `count` values: parameters p, gradients g (left at 0), momentum b.
void sgd_elements(const SgdScalars& s, int64_t count, float* __restrict p, float* __restrict g, float* __restrict b) {
  for (int64_t i = 0; i < count; ++i) {
    const float gradient = g[i] * s.gradient_scale + s.weight_decay * p[i];
    const float momentum = s.momentum * b[i] + gradient;
    p[i] += s.minus_rate * momentum;
    b[i] = momentum;
    g[i] = 0.0f;
  }
}

void sgd_elements(const SgdScalars& s, int64_t count, float* __restrict p, float* __restrict g) {
  for (int64_t i = 0; i < count; ++i) {
    p[i] += s.minus_rate * (g[i] * s.gradient_scale + s.weight_decay * p[i]);
    g[i] = 0.0f;
  }
}

}  // namespace

Sgd::Sgd(const std::vector<ParameterGroup>& groups, const SgdOptions& options) : Optimizer(groups, options.momentum > 0 ? 1 : 0), options_(options) {}

void Sgd::apply(double learning_rate, float gradient_scale) {
  const auto all = buffers();
  at::parallel_for(0, std::ssize(pieces()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) update_piece(pieces()[static_cast<size_t>(i)], all, learning_rate, gradient_scale);
  });
}

void Sgd::update_piece(const Piece& piece, const kernels::AdamWBuffers& buffers, double learning_rate, float gradient_scale) const {
  const auto& slot = slots()[static_cast<size_t>(piece.tensor)];
  const SgdScalars scalars{.weight_decay = static_cast<float>(slot.weight_decay ? options_.weight_decay : 0.0),
                           .momentum = static_cast<float>(options_.momentum),
                           .minus_rate = static_cast<float>(-learning_rate * slot.learning_rate_factor),
                           .gradient_scale = gradient_scale};
  float* const gradients = buffers.gradients + piece.offset;
  if (buffers.first_moments == nullptr) sgd_elements(scalars, piece.count, piece.values, gradients);
  else sgd_elements(scalars, piece.count, piece.values, gradients, buffers.first_moments + piece.offset);
}

}  // namespace graft::pipelines
