#pragma once

// Private to the tile variant: from the sums of the parts to loss and gradient.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/head_loss/exponentials.h"
#include "kernels/head_loss/head_loss.h"
#include "kernels/head_loss/layout.h"
#include "kernels/tiles/tiles.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail::inline GRAFT_TILE_SPACE {

/// What the rows of a block need once all words were seen.
struct BlockResult {
  alignas(64) float factor[kParts][kRowBlock];  ///< of each part's gradient
  alignas(64) float of_target[kRowBlock];       ///< share of W[target] that is subtracted: 1 but for the rounding of its probability
};

/// One row: nll and best word; factors for its gradient.
inline void finish_row(const HeadLoss& p, const BlockState& block, int64_t first, int64_t row, int64_t parts, BlockResult& result) {
  const bool finite = (block.finite >> row & 1u) != 0;
  const PartState* leading = &block.parts[0];
  double shift = static_cast<double>(leading->shift[row]);
  for (int64_t i = 1; i < parts; ++i) {
    const PartState& part = block.parts[i];
    shift = std::fmax(shift, static_cast<double>(part.shift[row]));
    const bool lower = part.best[row] < leading->best[row];
    if (part.top[row] > leading->top[row] || (part.top[row] == leading->top[row] && lower)) leading = &part;
  }
  double scale[kParts] = {}, sum = 0.0, error = 0.0, target = 0.0;
  for (int64_t i = 0; i < parts; ++i) {
    scale[i] = std::exp2(static_cast<double>(block.parts[i].shift[row]) - shift);
    sum += static_cast<double>(block.parts[i].sum[row]) * scale[i];
    error += static_cast<double>(block.parts[i].error[row]) * scale[i];
    target += static_cast<double>(block.parts[i].target[row]);
  }
  for (int64_t i = 0; i < kParts; ++i) result.factor[i][row] = static_cast<float>(scale[i] / sum);
  result.of_target[row] = static_cast<float>(1.0 - error / sum);
  constexpr double kLog2 = 0.693147180559945309;
  const double above = shift + std::log2(sum) - static_cast<double>(kLog2E) * target;
  p.nll[first + row] = finite ? static_cast<float>(above * kLog2) : std::numeric_limits<float>::quiet_NaN();
  if (p.best != nullptr) p.best[first + row] = finite ? leading->best[row] : 0;
}

/// 16 columns x 16 rows of the gradient, transposed to rows x columns. `sums` of the parts are `part_pitch` values apart.
GRAFT_TILES_INLINE void gather_tile(const float* sums, int64_t part_pitch, int64_t parts, int half, const BlockResult& result,
                                    float* rows) {
  alignas(64) float scaled[kSumTile];
  for (int64_t i = 0; i < kSumTile; i += 16) {
    __m512 value = _mm512_mul_ps(_mm512_load_ps(sums + i), _mm512_load_ps(result.factor[0] + 16 * half));
    for (int64_t part = 1; part < parts; ++part) {
      value = _mm512_fmadd_ps(_mm512_load_ps(sums + part * part_pitch + i), _mm512_load_ps(result.factor[part] + 16 * half), value);
    }
    _mm512_store_ps(scaled + i, value);
  }
  transpose_16(scaled, 64, rows);
}

/// The gradient of 32 rows; what stands in it is W[target].
GRAFT_TILES inline void write_gradient(const HeadLoss& p, const BlockState& block, int64_t first, const float* sums, int64_t part_pitch,
                                       int64_t parts, const BlockResult& result) {
  alignas(64) float left[kSumTile], right[kSumTile];
  const int64_t count = std::min(kRowBlock, p.rows - first);
  for (int64_t column = 0; column < p.width; column += 32, sums += 4 * kSumTile) {
    const __mmask32 mask = first_of_32(p.width - column);
    for (int half = 0; half < 2 && half * 16 < count; ++half) {
      gather_tile(sums + half * kSumTile, part_pitch, parts, half, result, left);
      gather_tile(sums + (2 + half) * kSumTile, part_pitch, parts, half, result, right);
      for (int64_t i = 0; i < 16 && half * 16 + i < count; ++i) {
        const int64_t row = half * 16 + i;
        uint16_t* to = p.gradient + (first + row) * p.gradient_stride + column;
        const __m512i target = _mm512_maskz_loadu_epi16(mask, to);
        const bool finite = (block.finite >> row & 1u) != 0;
        const __m512 share = _mm512_set1_ps(finite ? result.of_target[row] : std::numeric_limits<float>::quiet_NaN());
        const __m512 low = widen_bfloat16(_mm512_castsi512_si256(target)), high = widen_bfloat16(_mm512_extracti64x4_epi64(target, 1));
        const __m512i rounded_sums = round_to_bfloat16(_mm512_fnmadd_ps(share, low, _mm512_load_ps(left + 16 * i)),
                                                       _mm512_fnmadd_ps(share, high, _mm512_load_ps(right + 16 * i)));
        _mm512_mask_storeu_epi16(to, mask, rounded_sums);
      }
    }
  }
}

}  // namespace graft::kernels::detail::inline GRAFT_TILE_SPACE

#endif
