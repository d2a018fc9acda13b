#pragma once

#include <cstdint>

// How far apart two batches of points lie, by optimal transport softened with entropy.
namespace graft::kernels {

/// Two batches of points, one a row, each of its batch's points with the same weight.
template <class Number>
struct TwoBatches {
  const Number* x;  ///< (n, width)
  int64_t n;
  const Number* y;  ///< (m, width)
  int64_t m;
  int64_t width;
};

struct SinkhornOptions {
  double blur = 0.05;     ///< in the unit of the points: what lies closer together is hardly told apart
  int power = 1;          ///< cost of moving a point by r: r for 1, r² / 2 for 2
  double scaling = 0.5;   ///< of the length scale from one update to the next; nearer to 1: slower and nearer to convergence
  int64_t settling = 0;   ///< further updates at the last scale
};

/// Debiased Sinkhorn divergence S = OT(x, y) − OT(x, x) / 2 − OT(y, y) / 2, where OT is the cost of the best plan between two batches with an
/// entropy of ε = blur^power. Not negative at convergence, 0 for equal batches, the distance itself for two single points (power 1);
/// symmetric to the last bit.
///
/// Potentials are brought down from the diameter of both batches' bounding box to `blur`, a factor of `scaling` at a time: one update of all
/// four at each ε, in the log domain, each averaged with what was there before; a last one is not averaged. This is the schedule of
/// Feydy et al. (arXiv:1810.08278) and their GeomLoss, whose value it has up to rounding, but for one thing: GeomLoss takes no distance for smaller
/// than 1e-4, here equal points lie 0 apart.
///
/// dx (n, width), dy (m, width): the gradients of S, or null where none is wanted. They are the closed form that holds where the potentials
/// have converged, so that their own change counts for nothing: each point's pull along the gradient of the cost, weighted by the plan. With
/// `settling` high enough it is the gradient of the value to rounding; as the schedule leaves it (settling 0) it is off by some per cent of
/// its length, as GeomLoss' own is (measured on batches of 18 and 20 distributions over 10 classes, blur 0.05: 3 %; 100 more updates: 1e-5). Points that coincide do not pull at each other (power 1, whose cost has a kink there).
///
/// Everything is computed in double. The same bits for any number of threads.
/// Throws   InvalidArgument for an empty batch, no columns, a number that is not finite, a blur that is not positive, a power other than 1
///          and 2, a scaling that is not between 0 and 1, a negative settling.
double sinkhorn_divergence(const TwoBatches<float>& batches, const SinkhornOptions& options, float* dx, float* dy);

/// The same in plain loops, and of double points, so that differences can be taken.
double sinkhorn_divergence_reference(const TwoBatches<double>& batches, const SinkhornOptions& options, double* dx, double* dy);

}  // namespace graft::kernels
