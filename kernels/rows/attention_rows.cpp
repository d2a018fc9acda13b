#include "kernels/rows/attention_rows.h"

#include <cmath>
#include <memory>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rows/attention_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/rows/seen_keys.h"
#include "kernels/rows/softmax_row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace graft::kernels::HWY_NAMESPACE {

HWY_INLINE Range keys_of_row(const AttentionBlock& block, int64_t row) {
  return detail::seen_keys(block.first_position + row % block.queries, block.keys, block.causal, block.window);
}

/// Zero is all bits zero in both element types.
template <class T>
HWY_INLINE void clear_outside(T* row, Range kept, int64_t n) {
  std::memset(static_cast<void*>(row), 0, static_cast<size_t>(kept.begin) * sizeof(T));
  std::memset(static_cast<void*>(row + kept.end), 0, static_cast<size_t>(n - kept.end) * sizeof(T));
}

/// row <- softmax(scale · row); returns log Σ exp. The exponentials wait in `exponentials` (n) for their sum, so that each is computed
/// once and rounded once; it may be the row itself where that holds fp32.
template <class T>
HWY_INLINE float softmax_span(T* row, int64_t n, float scale, float* exponentials) {
  const float top = largest(row, n) * scale;
  const float sum = sum_exponentials(
      row, n, scale, top,
      [&](V first, V second, int64_t i) HWY_ATTR {
        store(first, exponentials + i);
        store(second, exponentials + i + lanes());
      },
      [&](const Tail& tail, V v, int64_t i) HWY_ATTR { tail.store(v, exponentials + i); });
  const V factor = all(1.0f / sum);
  int64_t i = 0;
  for (; i + 2 * lanes() <= n; i += 2 * lanes())
    store_halves(hn::Mul(load(exponentials + i), factor), hn::Mul(load(exponentials + i + lanes()), factor), row + i);
  for (; i < n; i += lanes()) {
    const Tail tail{std::min(lanes(), n - i)};
    tail.store(hn::Mul(tail.load(exponentials + i), factor), row + i);
  }
  return top + std::log(sum);
}

/// `waiting` (keys) fp32 is needed for bf16 scores.
void softmax(Element type, const AttentionBlock& block, void* scores, Range rows, float* waiting, float* log_sum_exp) {
  by_element(type, [&](auto tag) HWY_ATTR {
    using T = decltype(tag);
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      T* row = static_cast<T*>(scores) + r * block.keys;
      const Range seen = keys_of_row(block, r);
      clear_outside(row, seen, block.keys);
      T* span = row + seen.begin;
      if constexpr (std::is_same_v<T, float>) waiting = span;
      log_sum_exp[r] = softmax_span(span, seen.end - seen.begin, block.scale, waiting);
    }
  });
}

void softmax_backward(Element type, const AttentionBlock& block, const float* log_sum_exp, const float* delta, Range rows,
                      void* scores, void* gradient) {
  by_element(type, [&](auto tag) HWY_ATTR {
    using T = decltype(tag);
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const Range seen = keys_of_row(block, r);
      T *row = static_cast<T*>(scores) + r * block.keys, *g = static_cast<T*>(gradient) + r * block.keys;
      clear_outside(row, seen, block.keys);
      clear_outside(g, seen, block.keys);
      row += seen.begin, g += seen.begin;
      map_row_twice(seen.end - seen.begin, row, g, [&](auto place, int64_t i, V& to_row, V& to_g) HWY_ATTR {
        to_row = exponential(hn::MulSub(place.load(row + i), all(block.scale), all(log_sum_exp[r])));
        to_g = hn::Mul(hn::Mul(to_row, all(block.scale)), hn::Sub(place.load(g + i), all(delta[r])));
      });
    }
  });
}

}  // namespace graft::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace graft::kernels {
namespace {

using namespace detail;

HWY_EXPORT(softmax);
HWY_EXPORT(softmax_backward);

/// Rows of a causal block differ in length, so that threads take them in small pieces as they come; no result depends on who does.
template <class Body>
void over_queries(const AttentionBlock& block, const Body& body) {
  constexpr int64_t kRows = 16;
  const int64_t rows = block.groups * block.queries;
  choose_highway_targets();
#pragma omp parallel for schedule(dynamic) if (rows * block.keys > kPiece)
  for (int64_t begin = 0; begin < rows; begin += kRows) body(Range{begin, std::min(rows, begin + kRows)});
}

}  // namespace

void softmax_rows(Element type, const AttentionBlock& block, void* scores, float* log_sum_exp) {
  over_queries(block, [&](Range some) {
    const auto waiting =
        std::make_unique_for_overwrite<float[]>(type == Element::kBFloat16 ? static_cast<size_t>(block.keys) : 0);
    HWY_DYNAMIC_DISPATCH(softmax)(type, block, scores, some, waiting.get(), log_sum_exp);
  });
}

void softmax_rows_backward(Element type, const AttentionBlock& block, const float* log_sum_exp, const float* delta, void* scores,
                           void* gradient) {
  over_queries(block, [&](Range some) {
    HWY_DYNAMIC_DISPATCH(softmax_backward)(type, block, log_sum_exp, delta, some, scores, gradient);
  });
}

}  // namespace graft::kernels
#endif
