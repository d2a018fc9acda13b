#pragma once

// Private to kernels/: the exponential that softmax needs, 16 lanes at a time.

#include "kernels/tiles/tiles.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::inline GRAFT_TILE_SPACE {

constexpr float kLog2E = 1.44269504f;

/// 2^x, 0 where x is very low, exactly 1 at 0; relative error below 3e-7.
GRAFT_TILES_INLINE __m512 exp2_precise(__m512 x) {
  const __m512 rest = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.00186713f), rest, _mm512_set1_ps(0.00901703f));
  p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(0.05579991f));
  p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(0.24016444f));
  p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(0.69315130f));
  p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, x);
}

/// The same with a relative error below 8e-5, a fiftieth of what rounding to bf16 adds.
GRAFT_TILES_INLINE __m512 exp2_rough(__m512 x) {
  const __m512 rest = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.07802452f), rest, _mm512_set1_ps(0.22606716f));
  p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(0.69583356f));
  p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(0.99992520f));
  return _mm512_scalef_ps(p, x);
}

}  // namespace graft::kernels::inline GRAFT_TILE_SPACE

#endif
