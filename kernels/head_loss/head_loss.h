#pragma once

#include <cstdint>
#include <functional>

namespace graft::kernels {

/// Rows of a head's weight W (V, C) in bf16, row-major.
struct WordRows {
  const uint16_t* values = nullptr;
  int64_t stride = 0;  ///< values from word to word, at least C
};

/// Rows [first, first + count) of W, valid until the next call: they may be expanded into one buffer. Is called from the caller's thread
/// only, outside of any parallel region, so it may use all threads itself; words come in order and each once for every pass (see
/// head_loss_rows_of_pass()). `first` is a multiple of 32, and so is `count` unless the words end; `count` is at most
/// head_loss_words_at_once(). What it throws reaches the caller of head_loss().
using WordRowSource = std::function<WordRows(int64_t first, int64_t count)>;

/// Cross entropy of a frozen head over the vocabulary, without logits and without a gradient for W.
///
/// With z = hidden Wᵀ: nll = log Σ exp(z) − z[target], and its gradient for the hidden rows, softmax(z) W − W[target]. The vocabulary is
/// walked once; sums and gradient are carried along in fp32 and scaled down when the logits grow. Probabilities are rounded to bf16 for
/// the product with W only, and the target's is corrected for that; the gradient is rounded once. A row whose hidden values are not all
/// finite gives NaN for itself.
struct HeadLoss {
  int64_t rows = 0;        ///< M, may be 0
  int64_t width = 0;       ///< C, 1 or more
  int64_t vocabulary = 0;  ///< V, 1 to 2^31 - 1
  const uint16_t* hidden = nullptr;  ///< (M, C) bf16
  int64_t hidden_stride = 0;
  const int64_t* targets = nullptr;  ///< (M), in [0, V)
  WordRowSource words;
  float* nll = nullptr;          ///< (M), in nats
  uint16_t* gradient = nullptr;  ///< (M, C) bf16 of each row's nll, unscaled; must not overlap `hidden`. Null: not wanted, half the work
  int64_t gradient_stride = 0;
  int64_t* best = nullptr;  ///< (M) word of the largest logit, the first of equal ones; 0 for a row that is not finite. Or null
};

/// The same bytes for any number of threads, any number of rows in a call and on every run; nll and best are the same with and without
/// gradient. Throws InvalidArgument for sizes, strides or targets that cannot be.
void head_loss(const HeadLoss& problem);

/// True if a variant made for this processor exists. Elsewhere head_loss() runs plain loops, slower than what LibTorch offers.
bool head_loss_supported();

/// Words that a source is asked for at once, at most.
int64_t head_loss_words_at_once(int64_t width);

/// Rows that share a walk over the vocabulary, so that scratch memory is bounded: more rows take several walks.
int64_t head_loss_rows_of_pass(int64_t width);

/// Bytes of scratch memory that head_loss() takes and the calling thread keeps for the next call; at most 64 MiB for widths to 8,192. It
/// does not depend on the vocabulary.
int64_t head_loss_scratch(int64_t rows, int64_t width, bool gradient);

}  // namespace graft::kernels
