#include "kernels/rows/rotary_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rows/rotary_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/rows/row_elements-inl.h"

HWY_BEFORE_NAMESPACE();
namespace graft::kernels::HWY_NAMESPACE {

template <class T>
HWY_INLINE void rotate_head(const T* x, const float* cosine, const float* sine, float sign, int64_t half, T* y) {
  map_row_twice(half, y, y + half, [&](auto place, int64_t i, V& first, V& second) HWY_ATTR {
    const V a = place.load(x + i), b = place.load(x + half + i), c = place.load(cosine + i);
    const V s = hn::Mul(all(sign), place.load(sine + i));
    first = hn::NegMulAdd(b, s, hn::Mul(a, c));
    second = hn::MulAdd(a, s, hn::Mul(b, c));
  });
}

void rotate_halves(Element type, const void* x, const float* cosine, const float* sine, float sign, Range tokens, int64_t heads,
                   int64_t width, void* y) {
  by_element(type, [&](auto tag) HWY_ATTR {
    using T = decltype(tag);
    const int64_t half = width / 2;
    for (int64_t t = tokens.begin; t < tokens.end; ++t)
      for (int64_t h = 0; h < heads; ++h) {
        const int64_t at = (t * heads + h) * width;
        rotate_head(static_cast<const T*>(x) + at, cosine + t * half, sine + t * half, sign, half, static_cast<T*>(y) + at);
      }
  });
}

}  // namespace graft::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace graft::kernels {
namespace {

using namespace detail;

HWY_EXPORT(rotate_halves);

}  // namespace

void rotate_halves_rows(Element type, const void* x, const float* cosine, const float* sine, float sign, int64_t tokens,
                        int64_t heads, int64_t width, void* y) {
  over_rows(tokens, heads * width, [&](Range some) {
    HWY_DYNAMIC_DISPATCH(rotate_halves)(type, x, cosine, sine, sign, some, heads, width, y);
  });
}

}  // namespace graft::kernels
#endif
