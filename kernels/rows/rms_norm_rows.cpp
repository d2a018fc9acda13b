#include "kernels/rows/norm_rows.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rows/rms_norm_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/base/error.h"
#include "kernels/rows/row_elements-inl.h"

HWY_BEFORE_NAMESPACE();
namespace graft::kernels::HWY_NAMESPACE {

template <class T>
HWY_INLINE float inverse_rms_of(const T* x, float epsilon, int64_t n) {
  const float squares = sum_row<T>(n, [&](auto place, int64_t i, V sum) HWY_ATTR {
    const V v = place.load(x + i);
    return hn::MulAdd(v, v, sum);
  });
  return 1.0f / std::sqrt(squares / static_cast<float>(n) + epsilon);
}

template <class T>
HWY_INLINE void scale_row(const T* x, const float* weight, float factor, int64_t n, T* y) {
  map_row(n, y, [&](auto place, int64_t i) HWY_ATTR {
    return hn::Mul(hn::Mul(place.load(x + i), all(factor)), place.load(weight + i));
  });
}

void rms_norm(Element type, const void* x, const float* weight, float epsilon, Range rows, int64_t n, void* y, float* inverse_rms) {
  by_element(type, [&](auto tag) HWY_ATTR {
    using T = decltype(tag);
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const T* row = static_cast<const T*>(x) + r * n;
      inverse_rms[r] = inverse_rms_of(row, epsilon, n);
      scale_row(row, weight, inverse_rms[r], n, static_cast<T*>(y) + r * n);
    }
  });
}

void add_rms_norm(Element type, const void* x, const void* residual, const float* weight, float epsilon, Range rows, int64_t n,
                  void* sum, void* y, float* inverse_rms) {
  by_element(type, [&](auto tag) HWY_ATTR {
    using T = decltype(tag);
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const T *a = static_cast<const T*>(x) + r * n, *b = static_cast<const T*>(residual) + r * n;
      T* total = static_cast<T*>(sum) + r * n;
      map_row(n, total, [&](auto place, int64_t i) HWY_ATTR { return hn::Add(place.load(a + i), place.load(b + i)); });
      inverse_rms[r] = inverse_rms_of(total, epsilon, n);
      scale_row(total, weight, inverse_rms[r], n, static_cast<T*>(y) + r * n);
    }
  });
}

/// The gradients that kReaders readers of a row have, read as their sum.
template <class T, int kReaders>
struct Gradients {
  const T* of[kReaders];

  Gradients(std::span<const void* const> g, int64_t at) {
    for (int k = 0; k < kReaders; ++k) of[k] = static_cast<const T*>(g[static_cast<size_t>(k)]) + at;
  }
  template <class Place>
  HWY_INLINE V load(Place place, int64_t i) const {
    V sum = place.load(of[0] + i);
    for (int k = 1; k < kReaders; ++k) sum = hn::Add(sum, place.load(of[k] + i));
    return sum;
  }
};

/// dx = beside + inverse · (g·w − x̂ · mean(g·w·x̂)), x̂ = x · inverse; `beside` may be null.
template <class T, int kReaders>
HWY_INLINE void rms_norm_row_backward(const Gradients<T, kReaders>& g, const T* beside, const T* x, const float* weight, float inverse,
                                      int64_t n, T* dx) {
  const float dot = sum_row<T>(n, [&](auto place, int64_t i, V sum) HWY_ATTR {
    return hn::MulAdd(hn::Mul(g.load(place, i), place.load(weight + i)), place.load(x + i), sum);
  });
  const float shift = dot * inverse * inverse * inverse / static_cast<float>(n);
  const auto through_norm = [&](auto place, int64_t i) HWY_ATTR {
    const V gw = hn::Mul(g.load(place, i), place.load(weight + i));
    return hn::NegMulAdd(place.load(x + i), all(shift), hn::Mul(gw, all(inverse)));
  };
  if (beside == nullptr) return map_row(n, dx, through_norm);
  map_row(n, dx, [&](auto place, int64_t i) HWY_ATTR { return hn::Add(place.load(beside + i), through_norm(place, i)); });
}

template <class T, int kReaders>
HWY_INLINE void add_weight_gradient(const Gradients<T, kReaders>& g, const T* x, float inverse, int64_t n, float* dweight) {
  map_row(n, dweight, [&](auto place, int64_t i) HWY_ATTR {
    return hn::MulAdd(hn::Mul(g.load(place, i), place.load(x + i)), all(inverse), place.load(dweight + i));
  });
}

template <class T, int kReaders>
HWY_INLINE void rms_norm_rows_backward(const RmsNormBackward& norm, Range rows, float* dweight) {
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const int64_t at = r * norm.n;
    const Gradients<T, kReaders> g(norm.g, at);
    const T* x = static_cast<const T*>(norm.x) + at;
    const T* beside = norm.beside == nullptr ? nullptr : static_cast<const T*>(norm.beside) + at;
    // Before dx, which may lie where g or x does.
    if (dweight != nullptr) add_weight_gradient(g, x, norm.inverse_rms[r], norm.n, dweight);
    rms_norm_row_backward(g, beside, x, norm.weight, norm.inverse_rms[r], norm.n, static_cast<T*>(norm.dx) + at);
  }
}

/// A null `dweight`: not wanted.
void rms_norm_backward(Element type, const RmsNormBackward& norm, Range rows, float* dweight) {
  by_element(type, [&](auto tag) HWY_ATTR {
    using T = decltype(tag);
    switch (norm.g.size()) {
      case 1: return rms_norm_rows_backward<T, 1>(norm, rows, dweight);
      case 2: return rms_norm_rows_backward<T, 2>(norm, rows, dweight);
      case 3: return rms_norm_rows_backward<T, 3>(norm, rows, dweight);
      default: return rms_norm_rows_backward<T, 4>(norm, rows, dweight);
    }
  });
}
static_assert(kMostReaders == 4);

}  // namespace graft::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace graft::kernels {
namespace {

using namespace detail;

HWY_EXPORT(rms_norm);
HWY_EXPORT(add_rms_norm);
HWY_EXPORT(rms_norm_backward);

}  // namespace

void rms_norm_rows(Element type, const void* x, const float* weight, float epsilon, int64_t rows, int64_t n, void* y,
                   float* inverse_rms) {
  over_rows(rows, n, [&](Range some) { HWY_DYNAMIC_DISPATCH(rms_norm)(type, x, weight, epsilon, some, n, y, inverse_rms); });
}

void add_rms_norm_rows(Element type, const void* x, const void* residual, const float* weight, float epsilon, int64_t rows,
                       int64_t n, void* sum, void* y, float* inverse_rms) {
  over_rows(rows, n, [&](Range some) {
    HWY_DYNAMIC_DISPATCH(add_rms_norm)(type, x, residual, weight, epsilon, some, n, sum, y, inverse_rms);
  });
}

void rms_norm_rows_backward(Element type, const RmsNormBackward& norm) {
  GRAFT_ASSERT(!norm.g.empty() && norm.g.size() <= kMostReaders);
  const auto some_rows = [&](Range some, float* sums) { HWY_DYNAMIC_DISPATCH(rms_norm_backward)(type, norm, some, sums); };
  if (norm.dweight == nullptr) return over_rows(norm.rows, norm.n, [&](Range some) { some_rows(some, nullptr); });
  add_to(norm.dweight, sum_over_rows(norm.rows, norm.n, some_rows).data(), norm.n);
}

}  // namespace graft::kernels
#endif
