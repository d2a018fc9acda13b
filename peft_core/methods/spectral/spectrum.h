#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace graft::peft {

/// n chosen frequencies (u, v) of a real update D (out, in):
///     D[o, i] = 1 / (out in) · Σ_k c_k cos(2π (u_k o / out + v_k i / in)),
/// which is the real part of the inverse two-dimensional Fourier transform of a spectrum with c_k at (u_k, v_k) and zeros elsewhere.
class Spectrum {
 public:
  /// The first n of torch.randperm(out · in) with this seed, as Hugging Face PEFT draws them.
  Spectrum(int64_t out, int64_t in, int64_t n, int64_t seed);

  /// D (out, in), by a transform of half the spectrum; c (n) fp32. Differentiable.
  at::Tensor update(const at::Tensor& c) const;

  /// D x for few rows x (N, in): -> (N, out) fp32, without D. Differentiable.
  at::Tensor apply(const at::Tensor& x, const at::Tensor& c) const;

  /// D = up(c) · down(): 2n rows of cosines and sines. Differentiable.
  at::Tensor down() const { return down_; }    ///< (2n, in), constant; undefined unless thin()
  at::Tensor up(const at::Tensor& c) const;    ///< (out, 2n)
  /// True where two products with 2n rows are cheaper than one with D; then the rows are held.
  bool thin() const { return down_.defined(); }
  void move_to(at::Device device) const;

 private:
  int64_t out_, in_;
  at::Tensor places_, owners_;  // where c[owner] / 2 stands in the half spectrum (out, in / 2 + 1), flat
  at::Tensor u_, v_;            // (n)
  at::Tensor down_, up_;
};

}  // namespace graft::peft
