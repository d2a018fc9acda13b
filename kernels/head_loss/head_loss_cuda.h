#pragma once

#include <cstdint>

namespace graft::kernels {

// The head's loss on a CUDA stream, between products that are made elsewhere (LibTorch's). The vocabulary is walked in chunks:
//
//   begin_head_loss_cuda
//   for each chunk of words W (count, C):
//     logits = hidden Wᵀ                            a product, (M, count)
//     absorb_logits_cuda                            logits become exp(logit − largest so far)
//     part = logits W                               a product, (M, C)
//     add_head_chunk_cuda                           sums <- sums · rescale + part; W[target] is kept where its chunk has come
//   finish_head_loss_cuda                           nll and gradient
//
// Without gradient the second product, add_head_chunk and the gradient of finish fall away. All pointers are device memory, matrices are
// row-major without gaps, nothing is waited for, `stream` is a cudaStream_t. The same bits on every run and for any number of rows in a
// call. All throw Unavailable without CUDA kernels or if a launch fails.

/// Type of the logits, of W and of the gradient; sums are fp32.
enum class HeadElement { kFloat32, kBFloat16 };

/// What is carried from chunk to chunk, (M) each.
struct HeadRunning {
  int64_t rows = 0;              ///< M
  const int64_t* targets = nullptr;  ///< words of the vocabulary; a negative one has no chunk: its nll and gradient are those of logit 0
  float* top = nullptr;           ///< largest logit so far
  float* sum = nullptr;           ///< Σ exp(logit − top), before rounding
  float* target_logit = nullptr;
  float* target_rounding = nullptr;  ///< what rounding the target's exponential to the logits' type added to it
  float* rescale = nullptr;       ///< exp(old top − new top) of the last chunk
  int64_t* best = nullptr;        ///< word of the largest logit, the first of equal ones; or null
};

/// Words first, …, first + count − 1.
struct HeadChunk {
  int64_t first = 0;
  int64_t count = 0;
};

/// What is known before the first chunk. sums (M, C) become 0; null: not wanted.
void begin_head_loss_cuda(const HeadRunning& running, int64_t width, float* sums, void* stream);

/// logits (M, count), of `type`. A NaN or +infinity among a row's logits makes its nll and gradient NaN; −infinity counts for nothing.
void absorb_logits_cuda(HeadElement type, const HeadRunning& running, const HeadChunk& chunk, void* logits, void* stream);

/// part (M, C) and words (count, C) of `type`; sums (M, C). Rows of target_words (M, C) are written once their chunk comes.
void add_head_chunk_cuda(HeadElement type, const HeadRunning& running, const HeadChunk& chunk, int64_t width, const void* part,
                         const void* words, float* sums, void* target_words, void* stream);

/// nll (M), in nats; gradient (M, C) of each row's nll, unscaled, rounded once to `type`; may be the memory of target_words. Null: not
/// wanted.
void finish_head_loss_cuda(HeadElement type, const HeadRunning& running, int64_t width, const float* sums, const void* target_words,
                           float* nll, void* gradient, void* stream);

}  // namespace graft::kernels
