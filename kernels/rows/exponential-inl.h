// Private to this folder, read once for each instruction set: exp and what is built on it, for a vector of fp32.
#if defined(GRAFT_KERNELS_ROWS_EXPONENTIAL_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef GRAFT_KERNELS_ROWS_EXPONENTIAL_INL_H
#undef GRAFT_KERNELS_ROWS_EXPONENTIAL_INL_H
#else
#define GRAFT_KERNELS_ROWS_EXPONENTIAL_INL_H
#endif

#include "kernels/rows/row_elements-inl.h"

HWY_BEFORE_NAMESPACE();
namespace graft::kernels::HWY_NAMESPACE {

/// Bounds that let a NaN through, as Highway's Min and Max need not.
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
// maxps and minps return the second operand if either is a NaN.
HWY_INLINE V at_least(float low, V x) { return hn::Max(all(low), x); }
HWY_INLINE V at_most(float high, V x) { return hn::Min(all(high), x); }
#else
HWY_INLINE V at_least(float low, V x) { return hn::IfThenElse(hn::Lt(x, all(low)), all(low), x); }
HWY_INLINE V at_most(float high, V x) { return hn::IfThenElse(hn::Gt(x, all(high)), all(high), x); }
#endif

/// exp for x <= 88 (beyond: no meaning): relative error below 3e-7, 0 below -87.7, NaN for NaN. exp(x) = 2^n · exp(r) with |r| <= ln 2 / 2;
/// exp(r) = 1 + r + r² · (a polynomial whose minimax error is 3e-9).
HWY_INLINE V exponential_of_bounded(V x) {
  // Adding 1.5 · 2^23 rounds to an integer, which stands in the sum's last bits; 127 more makes it the exponent field of 2^n. At the
  // lower bound n is -127, whose field is that of 0.
  const V shift = all(12582912.0f + 127.0f);
  x = at_least(-88.0f, x);
  const V shifted = hn::MulAdd(x, all(1.44269504f), shift);
  const V n = hn::Sub(shifted, shift);
  const V r = hn::NegMulAdd(n, all(-2.12194440e-4f), hn::NegMulAdd(n, all(0.693359375f), x));  // ln 2 in two parts
  V p = hn::MulAdd(r, all(1.38142092e-3f), all(8.36889852e-3f));
  p = hn::MulAdd(p, r, all(4.16684059e-2f));
  p = hn::MulAdd(p, r, all(0.166665191f));
  p = hn::MulAdd(p, r, all(0.499999933f));
  p = hn::MulAdd(hn::MulAdd(p, r, all(1.0f)), r, all(1.0f));
  return hn::Mul(p, hn::BitCast(Floats(), hn::ShiftLeft<23>(hn::BitCast(Words(), shifted))));
}

/// The same for any x; above 88 it stays at exp(88), so that it never is infinite.
HWY_INLINE V exponential(V x) { return exponential_of_bounded(at_most(88.0f, x)); }

/// 1 / x for normal x with a normal result, to 2 units in the last place.
HWY_INLINE V reciprocal(V x) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  // 14 bits and a Newton step; a division of 16 numbers takes 16 clocks.
  const V y = hn::ApproximateReciprocal(x);
  return hn::MulAdd(hn::NegMulAdd(x, y, all(1.0f)), y, y);
#else
  return hn::Div(all(1.0f), x);
#endif
}

/// 1 / (1 + exp(-x)). At the bound 1 + exp is 6e37, whose reciprocal still is normal.
HWY_INLINE V sigmoid(V x) {
  return reciprocal(hn::Add(all(1.0f), exponential_of_bounded(at_most(87.0f, hn::Neg(x)))));
}

}  // namespace graft::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
