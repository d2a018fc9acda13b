#pragma once

// Private to the CUDA variant and its test: one block a row.

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/base/block_program.h"
#include "kernels/base/element_functions.h"
#include "kernels/head_loss/head_loss_cuda.h"

namespace graft::kernels::detail {

constexpr float kNoLogit = -std::numeric_limits<float>::infinity();

struct BestWord {
  float logit;
  uint32_t place;  // in the chunk
};

/// The larger logit; of equal ones the first word. A NaN loses, so that the order of joining does not matter.
struct LargerLogit {
  GRAFT_HOST_DEVICE BestWord operator()(BestWord a, BestWord b) const {
    const bool second = b.logit > a.logit || (b.logit == a.logit && b.place < a.place);
    return second ? b : a;
  }
};

struct BeginHeadLoss {
  static constexpr int kThreads = 256;
  struct Shared {};

  HeadRunning running;
  int64_t width;
  float* sums;  // or null

  template <class Block>
  GRAFT_HOST_DEVICE void operator()(Block& block, Shared&) const {
    const int64_t row = block.index();
    block.each([&](int thread) {
      if (thread == 0) {
        running.top[row] = kNoLogit;
        running.sum[row] = running.target_logit[row] = running.target_rounding[row] = 0.0f;
        running.rescale[row] = 1.0f;
        if (running.best != nullptr) running.best[row] = 0;
      }
      if (sums == nullptr) return;
      for (int64_t i = thread; i < width; i += kThreads) sums[row * width + i] = 0.0f;
    });
  }
};

/// Takes a chunk into a row's softmax: logits become exponentials.
template <class T>
struct AbsorbLogits {
  static constexpr int kThreads = 256;
  struct Shared {
    float target_exponential, target_stored;
  };

  HeadRunning running;
  HeadChunk chunk;
  bool packed;
  T* logits;

  template <class Block>
  GRAFT_HOST_DEVICE void operator()(Block& block, Shared& shared) const {
    const int64_t row = block.index(), target = running.targets[row] - chunk.first;
    T* values = logits + row * chunk.count;
    const float before = running.top[row];
    const BestWord largest = find_largest(block, values);
    const float top = largest.logit > before ? largest.logit : before;
    const float sum = replace_by_exponentials(block, shared, values, target, top);
    const bool here = target >= 0 && target < chunk.count;
    block.each([&](int thread) {
      if (thread != 0) return;
      const float rescale = top == before ? 1.0f : exponential_or_nothing(before, top);
      const float rounding = here ? shared.target_stored - shared.target_exponential : 0.0f;
      running.rescale[row] = rescale;
      running.sum[row] = running.sum[row] * rescale + sum;
      running.target_rounding[row] = running.target_rounding[row] * rescale + rounding;
      running.top[row] = top;
      if (running.best != nullptr && largest.logit > before) running.best[row] = chunk.first + largest.place;
    });
  }

 private:
  /// exp(x − top), 0 where x is −infinity, whatever top is.
  GRAFT_HOST_DEVICE static float exponential_or_nothing(float x, float top) { return x == kNoLogit ? 0.0f : exponential(x - top); }

  template <class Block>
  GRAFT_HOST_DEVICE BestWord find_largest(Block& block, const T* values) const {
    typename Block::template PerThread<BestWord> largest;
    block.each([&](int thread) {
      BestWord mine{kNoLogit, 0xffffffffu};
      over_eights(thread, kThreads, chunk.count, [&](int64_t first, int count) {
        float eight[kEight];
        load_eight(values + first, count, packed, eight);
        for (int i = 0; i < kEight; ++i) {
          if (i >= count || !(eight[i] > mine.logit)) continue;
          mine = {eight[i], static_cast<uint32_t>(first + i)};
        }
      });
      largest[thread] = mine;
    });
    return block.reduce(largest, LargerLogit());
  }

  /// Σ of the exponentials before they are rounded. `target`: its place in the chunk, or outside.
  template <class Block>
  GRAFT_HOST_DEVICE float replace_by_exponentials(Block& block, Shared& shared, T* values, int64_t target, float top) const {
    typename Block::template PerThread<float> sums;
    block.each([&](int thread) {
      float sum = 0.0f;
      over_eights(thread, kThreads, chunk.count, [&](int64_t first, int count) {
        float eight[kEight];
        load_eight(values + first, count, packed, eight);
        const bool of_target = target >= first && target < first + count;  // true for few, so no more is asked for each number
        for (int i = 0; i < kEight; ++i) {
          const float logit = eight[i];
          eight[i] = i < count ? exponential_or_nothing(logit, top) : 0.0f;
          sum += eight[i];
          if (of_target && i == static_cast<int>(target - first)) keep_target(block.index(), logit, eight[i], shared);
        }
        store_eight(eight, count, packed, values + first);
      });
      sums[thread] = sum;
    });
    return block.reduce(sums, Add());
  }

  GRAFT_HOST_DEVICE void keep_target(int64_t row, float logit, float exponential, Shared& shared) const {
    T stored;
    narrow(exponential, stored);
    running.target_logit[row] = logit;
    shared.target_exponential = exponential;
    shared.target_stored = widen(stored);
  }
};

/// sums <- sums · rescale + part, and the target's row of W where it is in this chunk.
template <class T>
struct AddHeadChunk {
  static constexpr int kThreads = 256;
  struct Shared {};

  HeadRunning running;
  HeadChunk chunk;
  int64_t width;
  bool packed;
  const T* part;
  const T* words;
  float* sums;
  T* target_words;

  template <class Block>
  GRAFT_HOST_DEVICE void operator()(Block& block, Shared&) const {
    const int64_t row = block.index(), target = running.targets[row] - chunk.first;
    const bool here = target >= 0 && target < chunk.count;
    const float rescale = running.rescale[row];
    block.each([&](int thread) {
      over_eights(thread, kThreads, width, [&](int64_t first, int count) {
        float sum[kEight], more[kEight];
        load_eight(sums + row * width + first, count, packed, sum);
        load_eight(part + row * width + first, count, packed, more);
        for (int i = 0; i < kEight; ++i) sum[i] = fmaf(sum[i], rescale, more[i]);
        store_eight(sum, count, packed, sums + row * width + first);
        if (!here) return;
        load_eight(words + target * width + first, count, packed, more);
        store_eight(more, count, packed, target_words + row * width + first);
      });
    });
  }
};

/// nll = top + log Σ − target's logit; gradient = sums / Σ − share · W[target], share 1 but for the rounding of the target's exponential.
template <class T>
struct FinishHeadLoss {
  static constexpr int kThreads = 256;
  struct Shared {};

  HeadRunning running;
  int64_t width;
  bool packed;
  const float* sums;
  const T* target_words;
  float* nll;
  T* gradient;  // or null

  template <class Block>
  GRAFT_HOST_DEVICE void operator()(Block& block, Shared&) const {
    const int64_t row = block.index();
    const float sum = running.sum[row];
    block.each([&](int thread) {
      if (thread == 0) {
        const double total = static_cast<double>(running.top[row]) + log(static_cast<double>(sum));
        nll[row] = static_cast<float>(total - static_cast<double>(running.target_logit[row]));
      }
      if (gradient == nullptr) return;
      const float inverse = 1.0f / sum, share = running.targets[row] < 0 ? 0.0f : 1.0f + running.target_rounding[row] * inverse;
      over_eights(thread, kThreads, width, [&](int64_t first, int count) {
        float values[kEight], word[kEight] = {};
        load_eight(sums + row * width + first, count, packed, values);
        if (running.targets[row] >= 0) load_eight(target_words + row * width + first, count, packed, word);
        for (int i = 0; i < kEight; ++i) values[i] = fmaf(-share, word[i], values[i] * inverse);
        store_eight(values, count, packed, gradient + row * width + first);
      });
    });
  }
};

}  // namespace graft::kernels::detail
