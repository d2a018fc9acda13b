#pragma once

#include <cstdint>

#include "kernels/rows/element.h"

// A softmax over a vocabulary that is never whole in memory: it is read in blocks, and each row keeps its largest logit and its sum.
namespace graft::kernels {

/// Logits of the words first, …, first + count − 1 for `rows` rows, row r at element r · stride.
struct VocabularyBlock {
  int64_t rows = 0;
  int64_t count = 0;
  int64_t stride = 0;
  int64_t first = 0;
};

/// What is known of each row's softmax, (rows) fp32 each. Before the first block: top −infinity, sum and target_logit 0.
struct RunningSoftmax {
  float* top;           ///< the largest logit so far
  float* sum;           ///< Σ exp(logit − top)
  float* target_logit;  ///< the target's, once its block has come
};

/// Takes in one block: logits (of `type`) <- exp(logit − new top), `running` is brought up to date, and
/// rescale (rows) = exp(old top − new top), by which whatever was summed with the old top has to be multiplied. The sum is that of the
/// exponentials before they are rounded to `type`. targets (rows): a word of the vocabulary; one outside the block (or negative) leaves
/// target_logit as it is. A NaN or +infinity among the logits makes the row's sum NaN; −infinity counts for nothing.
void absorb_logits(Element type, const VocabularyBlock& block, void* logits, const int64_t* targets, const RunningSoftmax& running,
                   float* rescale);

/// sum (rows, n) fp32 <- sum · rescale[row] + part, part (rows, n) of `type`. Where rescale is 0, as for the first block, the old sum is
/// not read, so it may be uninitialised.
void rescale_and_add(Element type, const void* part, const float* rescale, int64_t rows, int64_t n, float* sum);

}  // namespace graft::kernels
