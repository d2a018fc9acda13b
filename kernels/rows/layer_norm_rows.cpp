#include "kernels/rows/norm_rows.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rows/layer_norm_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/rows/row_elements-inl.h"

HWY_BEFORE_NAMESPACE();
namespace graft::kernels::HWY_NAMESPACE {

template <class T>
HWY_INLINE float mean_of(const T* x, int64_t n) {
  const float sum = sum_row<T>(n, [&](auto place, int64_t i, V so_far) HWY_ATTR { return hn::Add(so_far, place.load(x + i)); });
  return sum / static_cast<float>(n);
}

/// The mean is taken off before squaring: mean(x²) − mean² would cancel where the mean is large beside the spread.
template <class T>
HWY_INLINE float inverse_std_of(const T* x, float mean, float epsilon, int64_t n) {
  const float squares = sum_row<T>(n, [&](auto place, int64_t i, V sum) HWY_ATTR {
    const V v = place.inside(hn::Sub(place.load(x + i), all(mean)));
    return hn::MulAdd(v, v, sum);
  });
  return 1.0f / std::sqrt(squares / static_cast<float>(n) + epsilon);
}

void layer_norm(Element type, const void* x, const float* weight, const float* bias, float epsilon, Range rows, int64_t n, void* y,
                float* mean, float* inverse_std) {
  by_element(type, [&](auto tag) HWY_ATTR {
    using T = decltype(tag);
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const T* row = static_cast<const T*>(x) + r * n;
      const float centre = mean_of(row, n), inverse = inverse_std_of(row, centre, epsilon, n);
      mean[r] = centre, inverse_std[r] = inverse;
      map_row(n, static_cast<T*>(y) + r * n, [&](auto place, int64_t i) HWY_ATTR {
        const V normal = hn::Mul(hn::Sub(place.load(row + i), all(centre)), all(inverse));
        return hn::MulAdd(normal, place.load(weight + i), place.load(bias + i));
      });
    }
  });
}

/// dx = inverse · (g·w − mean(g·w) − x̂ · mean(g·w·x̂)), x̂ = (x − mean) · inverse.
template <class T>
HWY_INLINE void layer_norm_row_backward(const T* g, const T* x, const float* weight, float mean, float inverse, int64_t n, T* dx) {
  const float sum = sum_row<T>(n, [&](auto place, int64_t i, V so_far) HWY_ATTR {
    return hn::MulAdd(place.load(g + i), place.load(weight + i), so_far);
  });
  const float dot = sum_row<T>(n, [&](auto place, int64_t i, V so_far) HWY_ATTR {
    return hn::MulAdd(hn::Mul(place.load(g + i), place.load(weight + i)), hn::Sub(place.load(x + i), all(mean)), so_far);
  });
  const float offset = sum / static_cast<float>(n), slope = dot * inverse * inverse / static_cast<float>(n);
  map_row(n, dx, [&](auto place, int64_t i) HWY_ATTR {
    const V gw = hn::MulSub(place.load(g + i), place.load(weight + i), all(offset));
    return hn::Mul(all(inverse), hn::NegMulAdd(hn::Sub(place.load(x + i), all(mean)), all(slope), gw));
  });
}

template <class T>
HWY_INLINE void add_parameter_gradients(const T* g, const T* x, float mean, float inverse, int64_t n, float* dweight, float* dbias) {
  map_row_twice(n, dweight, dbias, [&](auto place, int64_t i, V& to_weight, V& to_bias) HWY_ATTR {
    const V gradient = place.load(g + i), normal = hn::Mul(hn::Sub(place.load(x + i), all(mean)), all(inverse));
    to_weight = hn::MulAdd(gradient, normal, place.load(dweight + i));
    to_bias = hn::Add(gradient, place.load(dbias + i));
  });
}

/// `sums` (2, n): the gradients of weight and bias, where not null.
void layer_norm_backward(Element type, const void* g, const void* x, const float* weight, const float* mean, const float* inverse_std,
                         Range rows, int64_t n, void* dx, float* sums) {
  by_element(type, [&](auto tag) HWY_ATTR {
    using T = decltype(tag);
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const T *gradient = static_cast<const T*>(g) + r * n, *row = static_cast<const T*>(x) + r * n;
      // Before dx, which may lie where g or x does.
      if (sums != nullptr) add_parameter_gradients(gradient, row, mean[r], inverse_std[r], n, sums, sums + n);
      layer_norm_row_backward(gradient, row, weight, mean[r], inverse_std[r], n, static_cast<T*>(dx) + r * n);
    }
  });
}

}  // namespace graft::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace graft::kernels {
namespace {

using namespace detail;

HWY_EXPORT(layer_norm);
HWY_EXPORT(layer_norm_backward);

}  // namespace

void layer_norm_rows(Element type, const void* x, const float* weight, const float* bias, float epsilon, int64_t rows, int64_t n,
                     void* y, float* mean, float* inverse_std) {
  over_rows(rows, n, [&](Range some) {
    HWY_DYNAMIC_DISPATCH(layer_norm)(type, x, weight, bias, epsilon, some, n, y, mean, inverse_std);
  });
}

void layer_norm_rows_backward(Element type, const void* g, const void* x, const float* weight, const float* mean,
                              const float* inverse_std, int64_t rows, int64_t n, void* dx, float* dweight, float* dbias) {
  const auto some_rows = [&](Range some, float* sums) {
    HWY_DYNAMIC_DISPATCH(layer_norm_backward)(type, g, x, weight, mean, inverse_std, some, n, dx, sums);
  };
  if (dweight == nullptr && dbias == nullptr) return over_rows(rows, n, [&](Range some) { some_rows(some, nullptr); });
  const auto sums = sum_over_rows(rows, 2 * n, some_rows);
  add_to(dweight, sums.data(), n);
  add_to(dbias, sums.data() + n, n);
}

}  // namespace graft::kernels
#endif
