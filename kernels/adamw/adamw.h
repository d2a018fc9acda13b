#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace graft::kernels {

/// Scalars of one tensor's update, computed in double and rounded once, as torch does before its kernels.
struct AdamWScalars {
  float decay;  ///< 1 - learning rate * weight decay
  float one_minus_beta1, beta2, one_minus_beta2;
  float minus_step_size;   ///< -learning rate / (1 - beta1^t)
  float root_correction2;  ///< sqrt(1 - beta2^t)
  float epsilon;
};

/// fp32 buffers in which all tensors' gradients and moments lie one after the other.
struct AdamWBuffers {
  float *gradients, *first_moments, *second_moments;
};

/// What one thread works on at a time: elements of one tensor.
struct AdamWPiece {
  float* values;   ///< the piece's first parameter; parameters lie where the model has them
  int64_t offset;  ///< of its gradient and moments in the flat buffers
  int64_t count;
  int64_t tensor;  ///< its index in the list of scalars
};

/// Appends the pieces of a tensor of `count` parameters at `values`. They are 64 KiB of each of the four buffers, together within a core's
/// second cache, and depend on nothing but `count`.
void append_adamw_pieces(float* values, int64_t offset, int64_t count, int64_t tensor, std::vector<AdamWPiece>& pieces);

/// Σ g² over all pieces, in double: the first of a step's two passes, as the clipping's factor needs all gradients. Reads them once.
/// Each piece has eight running sums, `piece_sums` (one number a piece) holds what they came to, and these are added in order: the same bits
/// for any number of threads and any instruction set.
double sum_of_squares(std::span<const AdamWPiece> pieces, const float* gradients, std::span<double> piece_sums);

/// Clipping, decay and update in one pass, which reads and writes each of the four buffers once and leaves the gradients 0:
///   g = gradient_scale · g;  m += (1 - b1)(g - m);  v = b2 v + (1 - b2) g²;
///   p = p · decay - step size · m / (sqrt(v) / sqrt(1 - b2^t) + eps)
/// Every operation is rounded to fp32 for itself, in the order of torch.optim.AdamW: the same bits for any number of threads, any
/// instruction set and any place in a tensor.
/// Source   Loshchilov and Hutter 2019, arXiv:1711.05101.
void adamw_update(std::span<const AdamWPiece> pieces, std::span<const AdamWScalars> scalars, float gradient_scale, const AdamWBuffers& buffers);

/// The same for one tensor in one plain loop, computed in double and rounded where it is stored.
void adamw_update_reference(const AdamWScalars& scalars, float gradient_scale, int64_t count, float* p, float* g, float* m, float* v);
double sum_of_squares_reference(const float* gradients, int64_t count);

}  // namespace graft::kernels
