#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// Matrix shard sharing: one small matrix, repeated along the inputs, is the update.
///   y = W x + b + Dᵀ Σ_k x[k r .. k r + r)        (init_weights "true", and "mini" with D repeated along the outputs)
///   block W' = W + W B + B, r by r                (init_weights "bat"; B differs from row of blocks to row of blocks)
///
/// Shapes   D (r, out), with "mini" (r, mini_r); "bat": B (out / r, r, r); fp32. Start: zeros.
/// Cost     the sums over blocks are the thin side of a product of rank r, for in additions instead of r · in multiplications. "bat" needs W
///          in the update itself: it is made dense for each call, and again for each way back.
/// Source   Kang and Yin 2024, arXiv:2409.15371 (Bone, later MiSS); files of Hugging Face PEFT's MISS.
MethodSpec miss_method();

}  // namespace graft::peft
