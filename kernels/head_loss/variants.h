#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/head_loss/head_loss.h"

namespace graft::kernels::detail {

/// One way to compute the loss. Arguments were checked before; there is at least one row and no more than a pass takes.
struct HeadLossVariant {
  std::string_view name;
  bool (*supported)();
  void (*run)(const HeadLoss& problem);
};

/// Best first; the last runs everywhere.
std::span<const HeadLossVariant> head_loss_variants();

void head_loss_amx(const HeadLoss& problem);
void head_loss_avx512_bf16(const HeadLoss& problem);
void head_loss_avx2(const HeadLoss& problem);
void head_loss_portable(const HeadLoss& problem);

/// The plain version that defines the right answer; everything in double, results rounded once.
void head_loss_reference(const HeadLoss& problem);

/// The reference on doubles, so that its gradient can be held against differences. All matrices without gaps.
struct ExactHeadLoss {
  int64_t rows, width, vocabulary;
  const double *hidden, *weight;
  const int64_t* targets;
};
void head_loss_exact(const ExactHeadLoss& problem, double* nll, double* gradient, int64_t* best);

}  // namespace graft::kernels::detail
