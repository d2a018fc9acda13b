#include "kernels/rows/softmax_block_rows.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rows/softmax_block_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/rows/softmax_row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace graft::kernels::HWY_NAMESPACE {

/// row <- exp(row − top); returns the sum. Infinite logits alone have no top to be measured from; they are taken from 0.
template <class T>
HWY_INLINE float exponentials_in_place(T* row, int64_t n, float top) {
  const float shift = top == -std::numeric_limits<float>::infinity() ? 0.0f : top;
  return sum_exponentials(
      row, n, 1.0f, shift, [&](V first, V second, int64_t i) HWY_ATTR { store_halves(first, second, row + i); },
      [&](const Tail& tail, V v, int64_t i) HWY_ATTR { tail.store(v, row + i); });
}

void absorb(Element type, const VocabularyBlock& block, void* logits, const int64_t* targets, const RunningSoftmax& running,
            Range rows, float* rescale) {
  by_element(type, [&](auto tag) HWY_ATTR {
    using T = decltype(tag);
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      T* row = static_cast<T*>(logits) + r * block.stride;
      const int64_t target = targets[r] - block.first;
      if (target >= 0 && target < block.count) running.target_logit[r] = detail::load(row[target]);
      const float before = running.top[r], top = std::max(before, largest(row, block.count));
      rescale[r] = top == before ? 1.0f : std::exp(before - top);
      running.top[r] = top;
      running.sum[r] = running.sum[r] * rescale[r] + exponentials_in_place(row, block.count, top);
    }
  });
}

void rescale_and_add_range(Element type, const void* part, const float* rescale, Range rows, int64_t n, float* sum) {
  by_element(type, [&](auto tag) HWY_ATTR {
    using T = decltype(tag);
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const T* from = static_cast<const T*>(part) + r * n;
      float* to = sum + r * n;
      const float factor = rescale[r];
      if (factor == 0.0f) {
        map_row(n, to, [&](auto place, int64_t i) HWY_ATTR { return place.load(from + i); });
      } else {
        map_row(n, to, [&](auto place, int64_t i) HWY_ATTR {
          return hn::MulAdd(place.load(to + i), all(factor), place.load(from + i));
        });
      }
    }
  });
}

}  // namespace graft::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace graft::kernels {
namespace {

using namespace detail;

HWY_EXPORT(absorb);
HWY_EXPORT(rescale_and_add_range);

}  // namespace

void absorb_logits(Element type, const VocabularyBlock& block, void* logits, const int64_t* targets, const RunningSoftmax& running,
                   float* rescale) {
  over_rows(block.rows, block.count, [&](Range some) {
    HWY_DYNAMIC_DISPATCH(absorb)(type, block, logits, targets, running, some, rescale);
  });
}

void rescale_and_add(Element type, const void* part, const float* rescale, int64_t rows, int64_t n, float* sum) {
  over_rows(rows, n, [&](Range some) { HWY_DYNAMIC_DISPATCH(rescale_and_add_range)(type, part, rescale, some, n, sum); });
}

}  // namespace graft::kernels
#endif
