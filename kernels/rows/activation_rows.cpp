#include "kernels/rows/activation_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rows/activation_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/rows/exponential-inl.h"

HWY_BEFORE_NAMESPACE();
namespace graft::kernels::HWY_NAMESPACE {

void swiglu(Element type, const void* gate, const void* up, Range range, void* product) {
  by_element(type, [&](auto tag) HWY_ATTR {
    using T = decltype(tag);
    const T *a = static_cast<const T*>(gate) + range.begin, *b = static_cast<const T*>(up) + range.begin;
    map_row(range.end - range.begin, static_cast<T*>(product) + range.begin, [&](auto place, int64_t i) HWY_ATTR {
      const V x = place.load(a + i);
      return hn::Mul(hn::Mul(x, sigmoid(x)), place.load(b + i));
    });
  });
}

void swiglu_backward(Element type, const void* g, const void* gate, const void* up, Range range, void* dgate, void* dup) {
  by_element(type, [&](auto tag) HWY_ATTR {
    using T = decltype(tag);
    const int64_t at = range.begin;
    const T *gradient = static_cast<const T*>(g) + at, *a = static_cast<const T*>(gate) + at, *b = static_cast<const T*>(up) + at;
    map_row_twice(range.end - at, static_cast<T*>(dgate) + at, static_cast<T*>(dup) + at,
                  [&](auto place, int64_t i, V& to_gate, V& to_up) HWY_ATTR {
                    const V x = place.load(a + i), s = sigmoid(x), gs = hn::Mul(place.load(gradient + i), s);
                    to_up = hn::Mul(gs, x);
                    const V slope = hn::MulAdd(x, hn::Sub(all(1.0f), s), all(1.0f));
                    to_gate = hn::Mul(hn::Mul(gs, place.load(b + i)), slope);
                  });
  });
}

/// The normal distribution Φ and its density at x, from one exponential. With z = |x|/√2, Φ(−|x|) = exp(−z²) · t · P(t),
/// t = 1 / (1 + 0.3 z); P is a least-maximum fit of erfc(z) · exp(z²) / (2t) on z < 10, relative error 2e-8.
struct Normal {
  HWY_INLINE void operator()(V x, V& probability, V& density) const {
    // Beyond 14, Φ(−|x|) is 0 in fp32; the bound keeps infinity out of the reciprocal.
    const V size = at_most(14.0f, hn::Abs(x));
    const V t = reciprocal(hn::MulAdd(size, all(0.3f * 0.707106781f), all(1.0f)));
    const V bell = exponential_of_bounded(hn::Mul(hn::Mul(size, size), all(-0.5f)));
    V p = hn::MulAdd(t, all(-0.0647616853f), all(0.242782334f));
    p = hn::MulAdd(p, t, all(-0.256139604f));
    p = hn::MulAdd(p, t, all(0.273859398f));
    p = hn::MulAdd(p, t, all(-0.0473239241f));
    p = hn::MulAdd(p, t, all(0.107461909f));
    p = hn::MulAdd(p, t, all(0.0741700249f));
    p = hn::MulAdd(p, t, all(0.0853575265f));
    p = hn::MulAdd(p, t, all(0.0845940095f));
    const V below = hn::Mul(hn::Mul(p, t), bell);
    probability = hn::IfThenElse(hn::Lt(x, all(0.0f)), below, hn::Sub(all(1.0f), below));
    density = hn::Mul(bell, all(0.398942280f));
  }
};

constexpr float kTanhLinear = 1.59576912f, kTanhCubic = 0.0713548163f;  // 2 √(2/π) and 0.044715 of it
constexpr float kQuickSlope = 1.702f;

struct ExactGelu {
  HWY_INLINE V value(V x) const {
    V probability = x, density = x;
    Normal()(x, probability, density);
    return hn::Mul(x, probability);
  }
  HWY_INLINE V slope(V x) const {
    V probability = x, density = x;
    Normal()(x, probability, density);
    return hn::MulAdd(x, density, probability);
  }
};

/// x within ±bound: where sigmoid has long been 0 or 1, so that no product of x overflows beside a factor of 0.
HWY_INLINE V bounded(V x, float bound) { return at_least(-bound, at_most(bound, x)); }

/// 1 + tanh(u) = 2 · sigmoid(2u).
struct TanhGelu {
  HWY_INLINE V share(V x) const { return sigmoid(hn::Mul(x, hn::MulAdd(hn::Mul(x, x), all(kTanhCubic), all(kTanhLinear)))); }
  HWY_INLINE V value(V x) const { return hn::Mul(x, share(bounded(x, 30.0f))); }
  HWY_INLINE V slope(V x) const {
    x = bounded(x, 30.0f);
    const V s = share(x), inner = hn::MulAdd(hn::Mul(x, x), all(3 * kTanhCubic), all(kTanhLinear));
    return hn::MulAdd(hn::Mul(x, inner), hn::Mul(s, hn::Sub(all(1.0f), s)), s);
  }
};

struct QuickGelu {
  HWY_INLINE V share(V x) const { return sigmoid(hn::Mul(x, all(kQuickSlope))); }
  HWY_INLINE V value(V x) const { return hn::Mul(x, share(x)); }
  HWY_INLINE V slope(V x) const {
    x = bounded(x, 60.0f);
    const V s = share(x);
    return hn::MulAdd(hn::Mul(x, all(kQuickSlope)), hn::Mul(s, hn::Sub(all(1.0f), s)), s);
  }
};

template <class Body>
HWY_INLINE void by_form(Gelu form, const Body& body) {
  if (form == Gelu::kExact) return body(ExactGelu{});
  if (form == Gelu::kTanh) return body(TanhGelu{});
  body(QuickGelu{});
}

void gelu(Element type, Gelu form, const void* x, Range range, void* y) {
  by_element(type, [&](auto tag) HWY_ATTR {
    by_form(form, [&](auto curve) HWY_ATTR {
      using T = decltype(tag);
      const T* from = static_cast<const T*>(x) + range.begin;
      map_row(range.end - range.begin, static_cast<T*>(y) + range.begin,
              [&](auto place, int64_t i) HWY_ATTR { return curve.value(place.load(from + i)); });
    });
  });
}

void gelu_backward(Element type, Gelu form, const void* g, const void* x, Range range, void* dx) {
  by_element(type, [&](auto tag) HWY_ATTR {
    by_form(form, [&](auto curve) HWY_ATTR {
      using T = decltype(tag);
      const T *gradient = static_cast<const T*>(g) + range.begin, *from = static_cast<const T*>(x) + range.begin;
      map_row(range.end - range.begin, static_cast<T*>(dx) + range.begin, [&](auto place, int64_t i) HWY_ATTR {
        return hn::Mul(place.load(gradient + i), curve.slope(place.load(from + i)));
      });
    });
  });
}

}  // namespace graft::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace graft::kernels {
namespace {

using namespace detail;

HWY_EXPORT(swiglu);
HWY_EXPORT(swiglu_backward);
HWY_EXPORT(gelu);
HWY_EXPORT(gelu_backward);

}  // namespace

void swiglu_elements(Element type, const void* gate, const void* up, int64_t n, void* product) {
  over_elements(n, [&](Range range) { HWY_DYNAMIC_DISPATCH(swiglu)(type, gate, up, range, product); });
}

void swiglu_elements_backward(Element type, const void* g, const void* gate, const void* up, int64_t n, void* dgate, void* dup) {
  over_elements(n, [&](Range range) { HWY_DYNAMIC_DISPATCH(swiglu_backward)(type, g, gate, up, range, dgate, dup); });
}

void gelu_elements(Element type, Gelu form, const void* x, int64_t n, void* y) {
  over_elements(n, [&](Range range) { HWY_DYNAMIC_DISPATCH(gelu)(type, form, x, range, y); });
}

void gelu_elements_backward(Element type, Gelu form, const void* g, const void* x, int64_t n, void* dx) {
  over_elements(n, [&](Range range) { HWY_DYNAMIC_DISPATCH(gelu_backward)(type, form, g, x, range, dx); });
}

}  // namespace graft::kernels
#endif
