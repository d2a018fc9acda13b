// Private to this folder, read once for each instruction set: vectors of fp32 from rows of fp32 or bf16 and back, and the loops over a row.
// No include guard in the usual form: foreach_target.h includes this file again for every target.
#if defined(GRAFT_KERNELS_ROWS_ROW_ELEMENTS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef GRAFT_KERNELS_ROWS_ROW_ELEMENTS_INL_H
#undef GRAFT_KERNELS_ROWS_ROW_ELEMENTS_INL_H
#else
#define GRAFT_KERNELS_ROWS_ROW_ELEMENTS_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/rows/bf16_element.h"
#include "kernels/rows/element.h"
#include "kernels/rows/row_ranges.h"

HWY_BEFORE_NAMESPACE();
namespace graft::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using detail::Bf16;
using detail::Range;

using Floats = hn::ScalableTag<float>;
using Words = hn::RebindToUnsigned<Floats>;
using Halves = hn::Rebind<uint16_t, Floats>;
using V = hn::Vec<Floats>;

HWY_INLINE int64_t lanes() { return static_cast<int64_t>(hn::Lanes(Floats())); }
HWY_INLINE V all(float v) { return hn::Set(Floats(), v); }
HWY_INLINE float sum_of(V v) { return hn::GetLane(hn::SumOfLanes(Floats(), v)); }

template <class Body>
HWY_INLINE void by_element(Element type, const Body& body) {
  if (type == Element::kFloat32) return body(float{});
  body(Bf16{});
}

// ---------------------------------------------------------------- one vector

/// The words whose upper halves are the bf16 nearest to v, ties to even. Highway 1.0.3 cuts the lower half off instead. A NaN is left as
/// it is: the addition could turn its last bits into those of a zero.
HWY_INLINE hn::Vec<Words> rounded_to_upper_half(V v) {
  const Words d;
  const auto bits = hn::BitCast(d, v);
  const auto last = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1u));
  return hn::Add(bits, hn::IfThenElseZero(hn::RebindMask(d, hn::Eq(v, v)), hn::Add(last, hn::Set(d, 0x7fffu))));
}

/// v as it will be read back from a row of T.
template <class T>
HWY_INLINE V as_stored(V v) {
  if constexpr (std::is_same_v<T, float>) return v;
  return hn::BitCast(Floats(), hn::And(rounded_to_upper_half(v), hn::Set(Words(), 0xffff0000u)));
}

HWY_INLINE V load(const float* p) { return hn::LoadU(Floats(), p); }
HWY_INLINE void store(V v, float* p) { hn::StoreU(v, Floats(), p); }

#if HWY_TARGET == HWY_SCALAR
HWY_INLINE V load(const Bf16* p) { return all(detail::load(*p)); }
HWY_INLINE void store(V v, Bf16* p) { p->bits = static_cast<uint16_t>(hn::GetLane(rounded_to_upper_half(v)) >> 16); }
#else
HWY_INLINE V from_halves(hn::Vec<Halves> halves) {
  return hn::BitCast(Floats(), hn::ShiftLeft<16>(hn::PromoteTo(Words(), halves)));
}
HWY_INLINE hn::Vec<Halves> to_halves(V v) { return hn::TruncateTo(Halves(), hn::ShiftRight<16>(rounded_to_upper_half(v))); }
HWY_INLINE V load(const Bf16* p) { return from_halves(hn::LoadU(Halves(), reinterpret_cast<const uint16_t*>(p))); }
HWY_INLINE void store(V v, Bf16* p) { hn::StoreU(to_halves(v), Halves(), reinterpret_cast<uint16_t*>(p)); }
#endif

// ---------------------------------------------------------------- where a vector lies in a row

/// One of the two vectors that 2 · lanes() elements of a row make. A row of bf16 is read as 32-bit words, which hold element 2i in their
/// lower and 2i + 1 in their upper half, so the two vectors are the even and the odd elements: a shift or a mask each, where reading
/// in order would move elements across lanes. fp32 operands of such a row, like a norm's weight, follow the same order.
template <class T, bool kSecond>
struct Half {
  HWY_INLINE V load(const T* p) const {
#if HWY_TARGET != HWY_SCALAR
    if constexpr (std::is_same_v<T, Bf16>) {
      const auto words = hn::LoadU(Words(), reinterpret_cast<const uint32_t*>(p));
      if constexpr (kSecond) return hn::BitCast(Floats(), hn::And(words, hn::Set(Words(), 0xffff0000u)));
      return hn::BitCast(Floats(), hn::ShiftLeft<16>(words));
    }
#endif
    return HWY_NAMESPACE::load(p + (kSecond ? lanes() : 0));
  }
  template <class Other>
  HWY_INLINE V load(const Other* p) const {
#if HWY_TARGET != HWY_SCALAR
    if constexpr (std::is_same_v<T, Bf16>) {
      const V first = HWY_NAMESPACE::load(p), second = HWY_NAMESPACE::load(p + lanes());
      if constexpr (kSecond) return hn::ConcatOdd(Floats(), second, first);
      return hn::ConcatEven(Floats(), second, first);
    }
#endif
    return HWY_NAMESPACE::load(p + (kSecond ? lanes() : 0));
  }
  /// Without the lanes that lie beyond the row's end.
  HWY_INLINE V inside(V v) const { return v; }
  HWY_INLINE V inside_or(V v, V) const { return v; }
};

/// Writes the two vectors of a Half<T, false> and a Half<T, true>.
HWY_INLINE void store_halves(V first, V second, float* p) {
  store(first, p);
  store(second, p + lanes());
}
HWY_INLINE void store_halves(V first, V second, Bf16* p) {
#if HWY_TARGET == HWY_SCALAR
  store(first, p);
  store(second, p + 1);
#else
  const auto upper = hn::And(rounded_to_upper_half(second), hn::Set(Words(), 0xffff0000u));
  hn::StoreU(hn::Or(hn::ShiftRight<16>(rounded_to_upper_half(first)), upper), Words(), reinterpret_cast<uint32_t*>(p));
#endif
}

/// The last `count` <= lanes() elements of a row, in order; nothing beyond them is touched, lanes beyond them read as zero.
struct Tail {
  int64_t count;

#if HWY_TARGET <= HWY_AVX3 && HWY_ARCH_X86
  HWY_INLINE V load(const float* p) const { return hn::MaskedLoad(mask(Floats()), Floats(), p); }
  HWY_INLINE V load(const Bf16* p) const {
    return from_halves(hn::MaskedLoad(mask(Halves()), Halves(), reinterpret_cast<const uint16_t*>(p)));
  }
  HWY_INLINE void store(V v, float* p) const { hn::BlendedStore(v, mask(Floats()), Floats(), p); }
  HWY_INLINE void store(V v, Bf16* p) const {
    hn::BlendedStore(to_halves(v), mask(Halves()), Halves(), reinterpret_cast<uint16_t*>(p));
  }
#else
  // Other instruction sets have no masked access to 16 bits, and Highway's stand-in reads whole vectors.
  template <class T>
  HWY_INLINE V load(const T* p) const {
    T copy[hn::MaxLanes(Floats())] = {};
    std::memcpy(copy, p, static_cast<size_t>(count) * sizeof(T));
    return HWY_NAMESPACE::load(copy);
  }
  template <class T>
  HWY_INLINE void store(V v, T* p) const {
    T copy[hn::MaxLanes(Floats())];
    HWY_NAMESPACE::store(v, copy);
    std::memcpy(p, copy, static_cast<size_t>(count) * sizeof(T));
  }
#endif
  HWY_INLINE V inside(V v) const { return hn::IfThenElseZero(mask(Floats()), v); }
  HWY_INLINE V inside_or(V v, V other) const { return hn::IfThenElse(mask(Floats()), v, other); }

 private:
  template <class D>
  HWY_INLINE hn::Mask<D> mask(D d) const {
    return hn::FirstN(d, static_cast<size_t>(count));
  }
};

// ---------------------------------------------------------------- loops over a row of T
// `place` below is a Half or a Tail, i the element at which it stands: place.load(x + i) reads a vector of any operand.

/// to[i] = f(place, i) for i < n. `to` may be an operand of f.
template <class T, class F>
HWY_INLINE void map_row(int64_t n, T* to, const F& f) {
  int64_t i = 0;
  for (; i + 2 * lanes() <= n; i += 2 * lanes()) store_halves(f(Half<T, false>(), i), f(Half<T, true>(), i), to + i);
  for (; i < n; i += lanes()) {
    const Tail tail{std::min(lanes(), n - i)};
    tail.store(f(tail, i), to + i);
  }
}

/// The same for two results: f(place, i, first, second).
template <class T, class F>
HWY_INLINE void map_row_twice(int64_t n, T* to_first, T* to_second, const F& f) {
  int64_t i = 0;
  V a = all(0), b = a, c = a, d = a;
  for (; i + 2 * lanes() <= n; i += 2 * lanes()) {
    f(Half<T, false>(), i, a, b);
    f(Half<T, true>(), i, c, d);
    store_halves(a, c, to_first + i);
    store_halves(b, d, to_second + i);
  }
  for (; i < n; i += lanes()) {
    const Tail tail{std::min(lanes(), n - i)};
    f(tail, i, a, b);
    tail.store(a, to_first + i);
    tail.store(b, to_second + i);
  }
}

/// Folds a row into one vector: step(place, i, so far) returns the next "so far". Four at a time hide the latency; join(a, b) joins them.
template <class T, class Step, class Join>
HWY_INLINE V fold_row(int64_t n, V start, const Step& step, const Join& join) {
  int64_t i = 0;
  V a = start, b = start, c = start, d = start;
  for (; i + 4 * lanes() <= n; i += 4 * lanes()) {
    a = step(Half<T, false>(), i, a);
    b = step(Half<T, true>(), i, b);
    c = step(Half<T, false>(), i + 2 * lanes(), c);
    d = step(Half<T, true>(), i + 2 * lanes(), d);
  }
  for (; i < n; i += lanes()) a = step(Tail{std::min(lanes(), n - i)}, i, a);
  return join(join(a, b), join(c, d));
}

/// Σ over a row, where step adds its term to what it is given.
template <class T, class Step>
HWY_INLINE float sum_row(int64_t n, const Step& step) {
  return sum_of(fold_row<T>(n, all(0), step, [](V a, V b) HWY_ATTR { return hn::Add(a, b); }));
}

}  // namespace graft::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
