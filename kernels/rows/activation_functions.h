#pragma once

// Private to the CUDA variant and its test: the activations of one number and their slopes. The fits are those of activation_rows.cpp.

#include "kernels/base/element_functions.h"
#include "kernels/rows/activation_rows.h"

namespace graft::kernels::detail {

GRAFT_HOST_DEVICE inline float swiglu(float gate, float up) { return gate * sigmoid(gate) * up; }

struct SwigluGradient {
  float gate, up;
};
GRAFT_HOST_DEVICE inline SwigluGradient swiglu_gradient(float g, float gate, float up) {
  const float s = sigmoid(gate), gs = g * s;
  return {gs * up * fmaf(gate, 1.0f - s, 1.0f), gs * gate};
}

/// The normal distribution and its density. With z = |x|/√2, Φ(−|x|) = exp(−z²) · t · P(t), t = 1 / (1 + 0.3 z).
struct Normal {
  float probability, density;

  GRAFT_HOST_DEVICE explicit Normal(float x) {
    const float size = at_most(14.0f, fabsf(x));  // beyond, Φ(−|x|) is 0 in fp32
    const float t = 1.0f / fmaf(size, 0.3f * 0.707106781f, 1.0f);
    const float bell = exponential(size * size * -0.5f);
    float p = fmaf(t, -0.0647616853f, 0.242782334f);
    p = fmaf(p, t, -0.256139604f);
    p = fmaf(p, t, 0.273859398f);
    p = fmaf(p, t, -0.0473239241f);
    p = fmaf(p, t, 0.107461909f);
    p = fmaf(p, t, 0.0741700249f);
    p = fmaf(p, t, 0.0853575265f);
    p = fmaf(p, t, 0.0845940095f);
    const float below = p * t * bell;
    probability = x < 0.0f ? below : 1.0f - below;
    density = bell * 0.398942280f;
  }
};

/// value(x) and slope(x) of each form.
template <Gelu kForm>
struct GeluCurve;

template <>
struct GeluCurve<Gelu::kExact> {
  GRAFT_HOST_DEVICE static float value(float x) { return x * Normal(x).probability; }
  GRAFT_HOST_DEVICE static float slope(float x) {
    const Normal normal(x);
    return fmaf(x, normal.density, normal.probability);
  }
};

/// x within ±bound, where the sigmoid has long been 0 or 1, so that no product of x overflows beside a factor of 0.
GRAFT_HOST_DEVICE inline float bounded(float x, float bound) { return at_least(-bound, at_most(bound, x)); }

template <>
struct GeluCurve<Gelu::kTanh> {
  static constexpr float kLinear = 1.59576912f, kCubic = 0.0713548163f;  // 2 √(2/π) and 0.044715 of it
  GRAFT_HOST_DEVICE static float share(float x) { return sigmoid(x * fmaf(x * x, kCubic, kLinear)); }
  GRAFT_HOST_DEVICE static float value(float x) { return x * share(bounded(x, 30.0f)); }
  GRAFT_HOST_DEVICE static float slope(float x) {
    x = bounded(x, 30.0f);
    const float s = share(x), inner = fmaf(x * x, 3 * kCubic, kLinear);
    return fmaf(x * inner, s * (1.0f - s), s);
  }
};

template <>
struct GeluCurve<Gelu::kQuick> {
  static constexpr float kSlope = 1.702f;
  GRAFT_HOST_DEVICE static float share(float x) { return sigmoid(x * kSlope); }
  GRAFT_HOST_DEVICE static float value(float x) { return x * share(x); }
  GRAFT_HOST_DEVICE static float slope(float x) {
    x = bounded(x, 60.0f);
    const float s = share(x);
    return fmaf(x * kSlope, s * (1.0f - s), s);
  }
};

}  // namespace graft::kernels::detail
