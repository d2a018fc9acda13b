// Private to this folder, read once for each instruction set: the two passes that every softmax over a row begins with.
#if defined(GRAFT_KERNELS_ROWS_SOFTMAX_ROW_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef GRAFT_KERNELS_ROWS_SOFTMAX_ROW_INL_H
#undef GRAFT_KERNELS_ROWS_SOFTMAX_ROW_INL_H
#else
#define GRAFT_KERNELS_ROWS_SOFTMAX_ROW_INL_H
#endif

#include <limits>

#include "kernels/rows/exponential-inl.h"

HWY_BEFORE_NAMESPACE();
namespace graft::kernels::HWY_NAMESPACE {

/// The largest of a row, −infinity for none; a NaN may be passed over.
template <class T>
HWY_INLINE float largest(const T* row, int64_t n) {
  const V lowest = all(-std::numeric_limits<float>::infinity());
  const V top = fold_row<T>(
      n, lowest, [&](auto place, int64_t i, V so_far) HWY_ATTR {
        return hn::Max(place.inside_or(place.load(row + i), lowest), so_far);  // of a NaN and a number, the second
      },
      [](V a, V b) HWY_ATTR { return hn::Max(a, b); });
  return hn::GetLane(hn::MaxOfLanes(Floats(), top));
}

/// Σ exp(scale · row − shift); hands each vector of exponentials, not yet rounded, to one of keep_halves(first, second, i) and
/// keep_tail(tail, v, i). scale · row must not exceed shift by more than rounding.
template <class T, class KeepHalves, class KeepTail>
HWY_INLINE float sum_exponentials(const T* row, int64_t n, float scale, float shift, const KeepHalves& keep_halves,
                                  const KeepTail& keep_tail) {
  const auto exponential_at = [&](auto place, int64_t i) HWY_ATTR {
    return exponential_of_bounded(hn::MulSub(place.load(row + i), all(scale), all(shift)));
  };
  int64_t i = 0;
  V a = all(0), b = all(0);
  for (; i + 2 * lanes() <= n; i += 2 * lanes()) {
    const V first = exponential_at(Half<T, false>(), i), second = exponential_at(Half<T, true>(), i);
    a = hn::Add(a, first), b = hn::Add(b, second);
    keep_halves(first, second, i);
  }
  for (; i < n; i += lanes()) {
    const Tail tail{std::min(lanes(), n - i)};
    const V v = exponential_at(tail, i);
    a = hn::Add(a, tail.inside(v));
    keep_tail(tail, v, i);
  }
  return sum_of(hn::Add(a, b));
}

}  // namespace graft::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
