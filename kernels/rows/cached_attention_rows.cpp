#include "kernels/rows/cached_attention_rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rows/cached_attention_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <string>

#include "kernels/base/error.h"
#include "kernels/rows/seen_keys.h"
#include "kernels/rows/softmax_row-inl.h"
#include "kernels/tiles/aligned_buffer.h"

HWY_BEFORE_NAMESPACE();
namespace graft::kernels::HWY_NAMESPACE {

/// A row in fp32, its elements in the order in which the two halves of a row of T are read.
template <class T>
HWY_INLINE void arrange(const T* row, int64_t n, float* arranged) {
  int64_t i = 0;
  for (; i + 2 * lanes() <= n; i += 2 * lanes()) {
    store(Half<T, false>().load(row + i), arranged + i);
    store(Half<T, true>().load(row + i), arranged + i + lanes());
  }
  for (; i < n; i += lanes()) {
    const Tail tail{std::min(lanes(), n - i)};
    tail.store(tail.load(row + i), arranged + i);
  }
}

template <class T>
HWY_INLINE float dot(const float* arranged, const T* row, int64_t n) {
  int64_t i = 0;
  V a = all(0), b = all(0);
  for (; i + 2 * lanes() <= n; i += 2 * lanes()) {
    a = hn::MulAdd(load(arranged + i), Half<T, false>().load(row + i), a);
    b = hn::MulAdd(load(arranged + i + lanes()), Half<T, true>().load(row + i), b);
  }
  for (; i < n; i += lanes()) {
    const Tail tail{std::min(lanes(), n - i)};
    a = hn::MulAdd(tail.load(arranged + i), tail.load(row + i), a);
  }
  return sum_of(hn::Add(a, b));
}

/// to (width) <- factor · Σ weights[j] · rows[j]. Four sums at a time hide how long one product takes.
template <class T>
HWY_INLINE void weighted_sum(const float* weights, float factor, const T* rows, int64_t stride, int64_t count, int64_t width, T* to) {
  map_row(width, to, [&](auto place, int64_t i) HWY_ATTR {
    const T* row = rows + i;
    const auto add = [&](V& sum, int64_t j) HWY_ATTR { sum = hn::MulAdd(all(weights[j]), place.load(row + j * stride), sum); };
    V a = all(0), b = a, c = a, d = a;
    int64_t j = 0;
    for (; j + 4 <= count; j += 4) add(a, j), add(b, j + 1), add(c, j + 2), add(d, j + 3);
    for (; j < count; ++j) add(a, j);
    return hn::Mul(hn::Add(hn::Add(a, b), hn::Add(c, d)), all(factor));
  });
}

/// One query of one head. `scratch` holds keys + width numbers.
template <class T>
HWY_INLINE void attend(const CachedAttention& p, int64_t query, int64_t head, float* scratch) {
  const int64_t in_key = head / (p.heads / p.key_heads) * p.width, in_query = head * p.width;
  const auto seen = detail::seen_keys(p.keys - p.queries + query, p.keys, p.causal, p.window);
  const int64_t n = seen.end - seen.begin;
  const T* key = static_cast<const T*>(p.k) + seen.begin * p.k_stride + in_key;
  float *scores = scratch, *arranged = scratch + p.keys;
  arrange(static_cast<const T*>(p.q) + query * p.q_stride + in_query, p.width, arranged);
  for (int64_t j = 0; j < n; ++j, key += p.k_stride) scores[j] = dot(arranged, key, p.width);
  const float sum = sum_exponentials(
      scores, n, p.scale, largest(scores, n) * p.scale,
      [&](V first, V second, int64_t i) HWY_ATTR { store_halves(first, second, scores + i); },
      [&](const Tail& tail, V v, int64_t i) HWY_ATTR { tail.store(v, scores + i); });
  weighted_sum(scores, 1.0f / sum, static_cast<const T*>(p.v) + seen.begin * p.v_stride + in_key, p.v_stride, n, p.width,
               static_cast<T*>(p.out) + query * p.out_stride + in_query);
}

void attend_row(const CachedAttention& problem, int64_t query, int64_t head, float* scratch) {
  by_element(problem.type, [&](auto tag) HWY_ATTR { attend<decltype(tag)>(problem, query, head, scratch); });
}

}  // namespace graft::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace graft::kernels {
namespace {

using namespace detail;

HWY_EXPORT(attend_row);

void expect(bool fits, const char* what, const std::string& expected, const std::string& got) {
  if (!fits) throw InvalidArgument({.where = "attention over a cache", .what = what, .expected = expected, .got = got});
}

void check(const CachedAttention& p) {
  using std::to_string;
  expect(p.queries >= 0 && p.keys >= p.queries, "has a wrong length", "0 or more queries and at least as many keys",
         to_string(p.queries) + " queries, " + to_string(p.keys) + " keys");
  expect(p.heads > 0 && p.key_heads > 0 && p.heads % p.key_heads == 0 && p.width > 0, "heads do not fit together",
         "query heads that are a multiple of the key heads, and a width above 0",
         to_string(p.heads) + ", " + to_string(p.key_heads) + ", width " + to_string(p.width));
  expect(p.scale > 0.0f && p.window >= 0, "scale or window is out of range", "a scale above 0 and a window of 0 or more",
         to_string(p.scale) + ", " + to_string(p.window));
  const int64_t row = p.heads * p.width, key_row = p.key_heads * p.width;
  expect(std::min(p.q_stride, p.out_stride) >= row && std::min(p.k_stride, p.v_stride) >= key_row, "rows overlap",
         "strides of at least " + to_string(row) + " and, of keys and values, " + to_string(key_row),
         to_string(std::min(p.q_stride, p.out_stride)) + ", " + to_string(std::min(p.k_stride, p.v_stride)));
}

}  // namespace

void cached_attention_rows(const CachedAttention& problem) {
  check(problem);
  choose_highway_targets();
  const int64_t rows = problem.queries * problem.heads;
  // A key's element takes about as long as one of those that kPiece counts.
#pragma omp parallel for schedule(static) if (rows * problem.keys * problem.width > 4 * kPiece)
  for (int64_t row = 0; row < rows; ++row) {
    static thread_local AlignedBuffer<float> memory;
    float* scratch = memory.reserve(static_cast<size_t>(problem.keys + problem.width));
    HWY_DYNAMIC_DISPATCH(attend_row)(problem, row / problem.heads, row % problem.heads, scratch);
  }
}

}  // namespace graft::kernels
#endif
