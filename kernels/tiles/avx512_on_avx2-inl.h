#pragma once

// Private to kernels/: the AVX-512 intrinsics that the kernels on tiles use, each as two of AVX2, so that their one text serves processors
// without AVX-512 too. Included by tiles.h in sources that define GRAFT_TILES_ON_AVX2, behind the real intrinsics; from then on their names
// mean what stands here. Only what the kernels need of each is promised, said where it is less than Intel's.

#include <cstdint>
#include <cstring>

namespace graft::kernels::inline GRAFT_TILE_SPACE {
namespace halves {

/// 16 fp32 values; 64 bytes of integers.
struct Floats {
  __m256 low, high;
};
struct Words {
  __m256i low, high;
};

// Loads and stores.

GRAFT_TILES_INLINE Floats load_floats(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
GRAFT_TILES_INLINE void store_floats(float* to, Floats a) {
  _mm256_storeu_ps(to, a.low);
  _mm256_storeu_ps(to + 8, a.high);
}
GRAFT_TILES_INLINE Words load_words(const void* from) {
  const auto* at = static_cast<const __m256i*>(from);
  return {_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
}
GRAFT_TILES_INLINE void store_words(void* to, Words a) {
  auto* at = static_cast<__m256i*>(to);
  _mm256_storeu_si256(at, a.low);
  _mm256_storeu_si256(at + 1, a.high);
}
GRAFT_TILES_INLINE void stream_words(void* to, Words a) {
  auto* at = static_cast<__m256i*>(to);
  _mm256_stream_si256(at, a.low);
  _mm256_stream_si256(at + 1, a.high);
}
GRAFT_TILES_INLINE Floats set_floats(float value) {
  const __m256 all = _mm256_set1_ps(value);
  return {all, all};
}
GRAFT_TILES_INLINE Words set_words(int value) {
  const __m256i all = _mm256_set1_epi32(value);
  return {all, all};
}
GRAFT_TILES_INLINE Words set_halfwords(short value) {
  const __m256i all = _mm256_set1_epi16(value);
  return {all, all};
}
GRAFT_TILES_INLINE Floats zero_floats() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
GRAFT_TILES_INLINE Words zero_words() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
GRAFT_TILES_INLINE Words four_times(__m128i lane) {
  const __m256i all = _mm256_broadcastsi128_si256(lane);
  return {all, all};
}

// Masks: bit i is lane i. As vectors they have all bits of a lane set or none.

GRAFT_TILES_INLINE __m256i lanes_of(uint32_t mask) {
  const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(mask)), bits), bits);
}
GRAFT_TILES_INLINE uint16_t mask_of(__m256 low, __m256 high) {
  return static_cast<uint16_t>(_mm256_movemask_ps(low) | _mm256_movemask_ps(high) << 8);
}
GRAFT_TILES_INLINE Floats load_floats(uint32_t mask, const float* from) {
  return {_mm256_maskload_ps(from, lanes_of(mask)), _mm256_maskload_ps(from + 8, lanes_of(mask >> 8))};
}
GRAFT_TILES_INLINE void store_floats(float* to, uint32_t mask, Floats a) {
  _mm256_maskstore_ps(to, lanes_of(mask), a.low);
  _mm256_maskstore_ps(to + 8, lanes_of(mask >> 8), a.high);
}
GRAFT_TILES_INLINE Floats choose(uint32_t mask, Floats unset, Floats set) {
  return {_mm256_blendv_ps(unset.low, set.low, _mm256_castsi256_ps(lanes_of(mask))),
          _mm256_blendv_ps(unset.high, set.high, _mm256_castsi256_ps(lanes_of(mask >> 8)))};
}
GRAFT_TILES_INLINE Words choose(uint32_t mask, Words unset, Words set) {
  return {_mm256_blendv_epi8(unset.low, set.low, lanes_of(mask)), _mm256_blendv_epi8(unset.high, set.high, lanes_of(mask >> 8))};
}

/// The first values of 16 or 32, with zeros behind them. The mask must have all its set bits first.
GRAFT_TILES_INLINE __m256i load_first_16(uint32_t mask, const uint16_t* from) {
  if ((mask & 0xffffu) == 0xffffu) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  alignas(32) uint16_t values[16] = {};
  std::memcpy(values, from, sizeof(uint16_t) * static_cast<size_t>(__builtin_popcount(mask & 0xffffu)));
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(values));
}
GRAFT_TILES_INLINE Words load_first_32(uint32_t mask, const uint16_t* from) {
  const __m256i low = load_first_16(mask, from);
  return {low, (mask >> 16) != 0 ? load_first_16(mask >> 16, from + 16) : _mm256_setzero_si256()};
}
GRAFT_TILES_INLINE void store_first_32(uint16_t* to, uint32_t mask, Words a) {
  if (mask == 0xffffffffu) return store_words(to, a);
  alignas(32) uint16_t values[32];
  store_words(values, a);
  std::memcpy(to, values, sizeof(uint16_t) * static_cast<size_t>(__builtin_popcount(mask)));
}

// Arithmetic.

GRAFT_TILES_INLINE Floats add(Floats a, Floats b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
GRAFT_TILES_INLINE Floats subtract(Floats a, Floats b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
GRAFT_TILES_INLINE Floats multiply(Floats a, Floats b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
GRAFT_TILES_INLINE Floats divide(Floats a, Floats b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
GRAFT_TILES_INLINE Floats larger(Floats a, Floats b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
GRAFT_TILES_INLINE Floats multiply_add(Floats a, Floats b, Floats c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
GRAFT_TILES_INLINE Floats multiply_subtract(Floats a, Floats b, Floats c) {
  return {_mm256_fmsub_ps(a.low, b.low, c.low), _mm256_fmsub_ps(a.high, b.high, c.high)};
}
GRAFT_TILES_INLINE Floats subtract_product(Floats a, Floats b, Floats c) {
  return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
}
GRAFT_TILES_INLINE float sum_of(Floats a) {
  const __m256 eight = _mm256_add_ps(a.low, a.high);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
GRAFT_TILES_INLINE Words add_words(Words a, Words b) { return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)}; }
GRAFT_TILES_INLINE Words bits_and(Words a, Words b) { return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)}; }
GRAFT_TILES_INLINE Words bits_or(Words a, Words b) { return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)}; }
GRAFT_TILES_INLINE Words up(Words a, int bits) { return {_mm256_slli_epi32(a.low, bits), _mm256_slli_epi32(a.high, bits)}; }
GRAFT_TILES_INLINE Words down(Words a, int bits) { return {_mm256_srli_epi32(a.low, bits), _mm256_srli_epi32(a.high, bits)}; }

// Exponents. Within these bounds 2^x is a float, 0 below (where AVX-512 still has subnormal numbers) and infinity above.

GRAFT_TILES_INLINE __m256 within_exponents(__m256 x) {  // the order of operands keeps NaN
  return _mm256_min_ps(_mm256_set1_ps(128.0f), _mm256_max_ps(_mm256_set1_ps(-127.0f), x));
}
GRAFT_TILES_INLINE __m256 above_floor(__m256 x) {
  const __m256 y = within_exponents(x);
  return _mm256_sub_ps(y, _mm256_floor_ps(y));
}
GRAFT_TILES_INLINE __m256 scaled(__m256 a, __m256 x) {
  const __m256i exponent = _mm256_cvttps_epi32(_mm256_floor_ps(within_exponents(x)));
  return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(exponent, _mm256_set1_epi32(127)), 23)));
}
/// x - floor(x), 0 where x is far from 0.
GRAFT_TILES_INLINE Floats above_floor(Floats x) { return {above_floor(x.low), above_floor(x.high)}; }
/// a · 2^floor(x).
GRAFT_TILES_INLINE Floats scaled(Floats a, Floats x) { return {scaled(a.low, x.low), scaled(a.high, x.high)}; }
/// Of positive normal numbers: 1 <= mantissa < 2, and floor(log2).
GRAFT_TILES_INLINE Floats mantissa_of(Floats x) {
  const Words bits{_mm256_castps_si256(x.low), _mm256_castps_si256(x.high)};
  const Words one = bits_or(bits_and(bits, set_words(0x007fffff)), set_words(0x3f800000));
  return {_mm256_castsi256_ps(one.low), _mm256_castsi256_ps(one.high)};
}
GRAFT_TILES_INLINE Floats exponent_of(Floats x) {
  const Words biased = down({_mm256_castps_si256(x.low), _mm256_castps_si256(x.high)}, 23), exponent = add_words(biased, set_words(-127));
  return {_mm256_cvtepi32_ps(exponent.low), _mm256_cvtepi32_ps(exponent.high)};
}

// Comparisons.

template <int kPredicate>
GRAFT_TILES_INLINE uint16_t compare(Floats a, Floats b) {
  return mask_of(_mm256_cmp_ps(a.low, b.low, kPredicate), _mm256_cmp_ps(a.high, b.high, kPredicate));
}
GRAFT_TILES_INLINE uint16_t greater_words(Words a, Words b) {
  return mask_of(_mm256_castsi256_ps(_mm256_cmpgt_epi32(a.low, b.low)), _mm256_castsi256_ps(_mm256_cmpgt_epi32(a.high, b.high)));
}
/// Not zero where any of 32 values equal each other; which of them, it does not say.
GRAFT_TILES_INLINE uint32_t any_equal_halfwords(Words a, Words b) {
  return static_cast<uint32_t>(
      _mm256_movemask_epi8(_mm256_or_si256(_mm256_cmpeq_epi16(a.low, b.low), _mm256_cmpeq_epi16(a.high, b.high))));
}

// Moves between lanes of 16 bytes and within them.

template <int kFrom, class Lanes>
GRAFT_TILES_INLINE __m256i two_lanes(Lanes a) {
  return _mm256_permute2x128_si256(a.low, a.high, (kFrom & 3) | (kFrom >> 2 & 3) << 4);
}
template <int kFrom>
GRAFT_TILES_INLINE Words shuffle_lanes(Words a, Words b) {
  return {two_lanes<(kFrom & 15)>(a), two_lanes<(kFrom >> 4 & 15)>(b)};
}
template <int kLane>
GRAFT_TILES_INLINE Words with_lane(Words a, __m128i lane) {
  if constexpr (kLane < 2) {
    return {_mm256_inserti128_si256(a.low, lane, kLane), a.high};
  } else {
    return {a.low, _mm256_inserti128_si256(a.high, lane, kLane - 2)};
  }
}
GRAFT_TILES_INLINE Words low_words(Words a, Words b) { return {_mm256_unpacklo_epi32(a.low, b.low), _mm256_unpacklo_epi32(a.high, b.high)}; }
GRAFT_TILES_INLINE Words high_words(Words a, Words b) { return {_mm256_unpackhi_epi32(a.low, b.low), _mm256_unpackhi_epi32(a.high, b.high)}; }
GRAFT_TILES_INLINE Words low_doubles(Words a, Words b) { return {_mm256_unpacklo_epi64(a.low, b.low), _mm256_unpacklo_epi64(a.high, b.high)}; }
GRAFT_TILES_INLINE Words high_doubles(Words a, Words b) { return {_mm256_unpackhi_epi64(a.low, b.low), _mm256_unpackhi_epi64(a.high, b.high)}; }
GRAFT_TILES_INLINE Words low_halfwords(Words a, Words b) { return {_mm256_unpacklo_epi16(a.low, b.low), _mm256_unpacklo_epi16(a.high, b.high)}; }
GRAFT_TILES_INLINE Words high_halfwords(Words a, Words b) { return {_mm256_unpackhi_epi16(a.low, b.low), _mm256_unpackhi_epi16(a.high, b.high)}; }
GRAFT_TILES_INLINE Words shuffle_bytes(Words a, Words order) {
  return {_mm256_shuffle_epi8(a.low, order.low), _mm256_shuffle_epi8(a.high, order.high)};
}
/// Every second 16-bit value from `odd`.
template <uint32_t kMask>
GRAFT_TILES_INLINE Words blend_halfwords(Words even, Words odd) {
  static_assert(kMask == 0xaaaaaaaau);
  return {_mm256_blend_epi16(even.low, odd.low, 0xaa), _mm256_blend_epi16(even.high, odd.high, 0xaa)};
}

// Between formats.

GRAFT_TILES_INLINE Words widen_halfwords(__m256i a) {
  return {_mm256_cvtepu16_epi32(_mm256_castsi256_si128(a)), _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1))};
}
GRAFT_TILES_INLINE Floats as_floats(Words a) { return {_mm256_castsi256_ps(a.low), _mm256_castsi256_ps(a.high)}; }
GRAFT_TILES_INLINE Words as_words(Floats a) { return {_mm256_castps_si256(a.low), _mm256_castps_si256(a.high)}; }

/// To bf16, nearest even, in the upper half of each lane; NaN stays NaN.
GRAFT_TILES_INLINE __m256i rounded(__m256 value) {
  const __m256i bits = _mm256_castps_si256(value);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i nearest = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000));
  return _mm256_castps_si256(
      _mm256_blendv_ps(_mm256_castsi256_ps(nearest), _mm256_castsi256_ps(quiet), _mm256_cmp_ps(value, value, _CMP_UNORD_Q)));
}
GRAFT_TILES_INLINE __m256i to_bfloat16(Floats a) {
  const __m256i mixed = _mm256_packus_epi32(_mm256_srli_epi32(rounded(a.low), 16), _mm256_srli_epi32(rounded(a.high), 16));
  return _mm256_permute4x64_epi64(mixed, 0xd8);
}
GRAFT_TILES_INLINE Words to_bfloat16(Floats high, Floats low) { return {to_bfloat16(low), to_bfloat16(high)}; }

}  // namespace halves
}  // namespace graft::kernels::inline GRAFT_TILE_SPACE

#define __m512 ::graft::kernels::halves::Floats
#define __m512i ::graft::kernels::halves::Words

#define _mm512_load_ps(from) ::graft::kernels::halves::load_floats(from)
#define _mm512_loadu_ps(from) ::graft::kernels::halves::load_floats(from)
#define _mm512_maskz_loadu_ps(mask, from) ::graft::kernels::halves::load_floats(mask, from)
#define _mm512_store_ps(to, a) ::graft::kernels::halves::store_floats(to, a)
#define _mm512_storeu_ps(to, a) ::graft::kernels::halves::store_floats(to, a)
#define _mm512_mask_store_ps(to, mask, a) ::graft::kernels::halves::store_floats(to, mask, a)
#define _mm512_mask_storeu_ps(to, mask, a) ::graft::kernels::halves::store_floats(to, mask, a)
#define _mm512_load_si512(from) ::graft::kernels::halves::load_words(from)
#define _mm512_loadu_si512(from) ::graft::kernels::halves::load_words(from)
#define _mm512_store_si512(to, a) ::graft::kernels::halves::store_words(to, a)
#define _mm512_storeu_si512(to, a) ::graft::kernels::halves::store_words(to, a)
#define _mm512_stream_si512(to, a) ::graft::kernels::halves::stream_words(to, a)
#define _mm512_maskz_loadu_epi16(mask, from) ::graft::kernels::halves::load_first_32(mask, from)
#define _mm256_maskz_loadu_epi16(mask, from) ::graft::kernels::halves::load_first_16(mask, from)
#define _mm512_mask_storeu_epi16(to, mask, a) ::graft::kernels::halves::store_first_32(to, mask, a)
#define _mm512_set1_ps(value) ::graft::kernels::halves::set_floats(value)
#define _mm512_set1_epi32(value) ::graft::kernels::halves::set_words(value)
#define _mm512_set1_epi16(value) ::graft::kernels::halves::set_halfwords(value)
#define _mm512_setzero_ps() ::graft::kernels::halves::zero_floats()
#define _mm512_setzero_si512() ::graft::kernels::halves::zero_words()
#define _mm512_broadcast_i32x4(lane) ::graft::kernels::halves::four_times(lane)

#define _mm512_add_ps(a, b) ::graft::kernels::halves::add(a, b)
#define _mm512_mask_add_ps(unset, mask, a, b) ::graft::kernels::halves::choose(mask, unset, ::graft::kernels::halves::add(a, b))
#define _mm512_sub_ps(a, b) ::graft::kernels::halves::subtract(a, b)
#define _mm512_mul_ps(a, b) ::graft::kernels::halves::multiply(a, b)
#define _mm512_mask_mul_ps(unset, mask, a, b) ::graft::kernels::halves::choose(mask, unset, ::graft::kernels::halves::multiply(a, b))
#define _mm512_div_ps(a, b) ::graft::kernels::halves::divide(a, b)
#define _mm512_max_ps(a, b) ::graft::kernels::halves::larger(a, b)
#define _mm512_fmadd_ps(a, b, c) ::graft::kernels::halves::multiply_add(a, b, c)
#define _mm512_fmsub_ps(a, b, c) ::graft::kernels::halves::multiply_subtract(a, b, c)
#define _mm512_fnmadd_ps(a, b, c) ::graft::kernels::halves::subtract_product(a, b, c)
#define _mm512_reduce_add_ps(a) ::graft::kernels::halves::sum_of(a)
#define _mm512_reduce_ps(x, to_negative_infinity) ::graft::kernels::halves::above_floor(x)
#define _mm512_scalef_ps(a, x) ::graft::kernels::halves::scaled(a, x)
#define _mm512_getmant_ps(x, from_1_to_2, sign) ::graft::kernels::halves::mantissa_of(x)
#define _mm512_getexp_ps(x) ::graft::kernels::halves::exponent_of(x)
#define _mm512_add_epi32(a, b) ::graft::kernels::halves::add_words(a, b)
#define _mm512_and_si512(a, b) ::graft::kernels::halves::bits_and(a, b)
#define _mm512_or_si512(a, b) ::graft::kernels::halves::bits_or(a, b)
#define _mm512_slli_epi32(a, bits) ::graft::kernels::halves::up(a, bits)
#define _mm512_srli_epi32(a, bits) ::graft::kernels::halves::down(a, bits)

#define _mm512_cmp_ps_mask(a, b, predicate) ::graft::kernels::halves::compare<predicate>(a, b)
#define _mm512_cmpeq_ps_mask(a, b) ::graft::kernels::halves::compare<_CMP_EQ_OQ>(a, b)
#define _mm512_cmple_epi32_mask(a, b) static_cast<uint16_t>(~::graft::kernels::halves::greater_words(a, b))
#define _mm512_mask_cmpge_epi32_mask(mask, a, b) static_cast<uint16_t>((mask) & ~::graft::kernels::halves::greater_words(b, a))
#define _mm512_cmpeq_epi16_mask(a, b) ::graft::kernels::halves::any_equal_halfwords(a, b)
#define _mm512_mask_blend_ps(mask, unset, set) ::graft::kernels::halves::choose(mask, unset, set)
#define _mm512_mask_mov_epi32(unset, mask, set) ::graft::kernels::halves::choose(mask, unset, set)
#define _mm512_mask_blend_epi16(mask, unset, set) ::graft::kernels::halves::blend_halfwords<mask>(unset, set)

#define _mm512_shuffle_i32x4(a, b, from) ::graft::kernels::halves::shuffle_lanes<from>(a, b)
#define _mm512_inserti64x2(a, lane, place) ::graft::kernels::halves::with_lane<place>(a, lane)
#define _mm512_castsi128_si512(lane) ::graft::kernels::halves::four_times(lane)
#define _mm512_castsi512_si256(a) ((a).low)
#define _mm512_extracti64x4_epi64(a, half) ((a).high)
#define _mm512_unpacklo_epi16(a, b) ::graft::kernels::halves::low_halfwords(a, b)
#define _mm512_unpackhi_epi16(a, b) ::graft::kernels::halves::high_halfwords(a, b)
#define _mm512_unpacklo_epi32(a, b) ::graft::kernels::halves::low_words(a, b)
#define _mm512_unpackhi_epi32(a, b) ::graft::kernels::halves::high_words(a, b)
#define _mm512_unpacklo_epi64(a, b) ::graft::kernels::halves::low_doubles(a, b)
#define _mm512_unpackhi_epi64(a, b) ::graft::kernels::halves::high_doubles(a, b)
#define _mm512_shuffle_epi8(a, order) ::graft::kernels::halves::shuffle_bytes(a, order)

#define _mm512_cvtepu16_epi32(a) ::graft::kernels::halves::widen_halfwords(a)
#define _mm512_castsi512_ps(a) ::graft::kernels::halves::as_floats(a)
#define _mm512_castps_si512(a) ::graft::kernels::halves::as_words(a)
#define _mm512_cvtneps_pbh(a) ::graft::kernels::halves::to_bfloat16(a)
#define _mm512_cvtne2ps_pbh(high, low) ::graft::kernels::halves::to_bfloat16(high, low)
