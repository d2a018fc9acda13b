#pragma once

#include "kernels/ops/head_loss_op.h"

// Private to this folder: the head's loss in a device's memory, from LibTorch's products and the CUDA variant of kernels/head_loss.
namespace graft::ops {

/// −log p of each row's target, (M) fp32, as head_nll(). `gradient` receives each row's, like hidden; `best` each row's likeliest word.
/// Either may be null.
at::Tensor nll_on_device(const at::Tensor& hidden, const at::Tensor& targets, int64_t vocabulary, const HeadRows& rows, at::Tensor* gradient,
                         at::Tensor* best);

}  // namespace graft::ops
