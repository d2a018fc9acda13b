#pragma once

// Private to the CUDA variant and its test: the norms of rows as block programs, one block a row.

#include <cmath>
#include <cstdint>

#include "kernels/base/block_program.h"
#include "kernels/base/row_share.h"
#include "kernels/rows/element_programs.h"
#include "kernels/rows/norm_rows.h"

namespace graft::kernels::detail {

/// The gradients that several readers of a row have, read as their sum.
template <class T>
struct ReaderGradients {
  const T* of[kMostReaders];
  int readers;

  GRAFT_HOST_DEVICE void load(int64_t at, int count, bool packed, float (&sum)[kEight]) const {
    load_eight(of[0] + at, count, packed, sum);
    // Up to the constant, so that the pointers stay where parameters lie: a place found at run time would need a copy of them.
    for (int k = 1; k < kMostReaders; ++k) {
      if (k >= readers) continue;
      float more[kEight];
      load_eight(of[k] + at, count, packed, more);
      for (int i = 0; i < kEight; ++i) sum[i] += more[i];
    }
  }
  GRAFT_HOST_DEVICE float at(int64_t i) const {
    float sum = widen(of[0][i]);
    for (int k = 1; k < kMostReaders; ++k)
      if (k < readers) sum += widen(of[k][i]);
    return sum;
  }
};

/// y = x / rms(x) · weight. With a residual, x is first x + residual, rounded and kept in `sum`.
template <class T, int kWidth, int kKept>
struct RmsNormForward {
  static constexpr int kThreads = kWidth;
  struct Shared {};

  const T* x;
  const T* residual;  // or null
  const float* weight;
  float epsilon;
  int64_t n;
  bool packed;
  T* sum;  // null without residual
  T* y;
  float* inverse_rms;

  template <class Block>
  GRAFT_HOST_DEVICE void operator()(Block& block, Shared&) const {
    using Share = RowShare<kThreads, kKept, 1, Block>;
    using Eights = typename Share::Eights;
    Share share(n);
    const int64_t row = block.index() * n;
    const float squares = share.load_and_sum(block, [&](int64_t first, int count, Eights& values) {
      load_eight(x + row + first, count, packed, values[0]);
      if (residual != nullptr) add_residual(row + first, count, values[0]);
    }, [](const Eights& values, int64_t, int) {
      float total = 0.0f;
      for (int i = 0; i < kEight; ++i) total = fmaf(values[0][i], values[0][i], total);
      return total;
    });
    const float inverse = 1.0f / sqrtf(squares / static_cast<float>(n) + epsilon);
    const T* normed = residual == nullptr ? x + row : sum + row;
    block.each([&](int thread) {
      if (thread == 0) inverse_rms[block.index()] = inverse;
      share.each(thread, [&](int64_t first, int count, Eights& values) { load_eight(normed + first, count, packed, values[0]); },
                 [&](const Eights& values, int64_t first, int count) {
        float weights[kEight];
        load_eight(weight + first, count, packed, weights);
        for (int i = 0; i < kEight; ++i) weights[i] = values[0][i] * inverse * weights[i];
        store_eight(weights, count, packed, y + row + first);
      });
    });
  }

 private:
  GRAFT_HOST_DEVICE void add_residual(int64_t at, int count, float (&values)[kEight]) const {
    float more[kEight];
    load_eight(residual + at, count, packed, more);
    for (int i = 0; i < kEight; ++i) {
      T rounded;
      narrow(values[i] + more[i], rounded);
      values[i] = widen(rounded);
    }
    store_eight(values, count, packed, sum + at);
  }
};

/// dx = beside + inverse · (g·w − x̂ · mean(g·w·x̂)).
template <class T, int kWidth, int kKept>
struct RmsNormRowBackward {
  static constexpr int kThreads = kWidth;
  struct Shared {};

  ReaderGradients<T> g;
  const T* beside;  // or null
  const T* x;
  const float* weight;
  const float* inverse_rms;
  int64_t n;
  bool packed;
  T* dx;

  template <class Block>
  GRAFT_HOST_DEVICE void operator()(Block& block, Shared&) const {
    using Share = RowShare<kThreads, kKept, 2, Block>;  // g·w and x
    using Eights = typename Share::Eights;
    Share share(n);
    const int64_t row = block.index() * n;
    const float inverse = inverse_rms[block.index()];
    const auto load = [&](int64_t first, int count, Eights& values) {
      float weights[kEight];
      g.load(row + first, count, packed, values[0]);
      load_eight(x + row + first, count, packed, values[1]);
      load_eight(weight + first, count, packed, weights);
      for (int i = 0; i < kEight; ++i) values[0][i] *= weights[i];
    };
    const float dot = share.load_and_sum(block, load, [](const Eights& values, int64_t, int) {
      float total = 0.0f;
      for (int i = 0; i < kEight; ++i) total = fmaf(values[0][i], values[1][i], total);
      return total;
    });
    const float mean = dot * inverse / static_cast<float>(n);
    block.each([&](int thread) {
      share.each(thread, load, [&](const Eights& values, int64_t first, int count) {
        float joined[kEight] = {};
        if (beside != nullptr) load_eight(beside + row + first, count, packed, joined);
        for (int i = 0; i < kEight; ++i) joined[i] = fmaf(inverse, fmaf(-(values[1][i] * inverse), mean, values[0][i]), joined[i]);
        store_eight(joined, count, packed, dx + row + first);
      });
    });
  }
};

/// y = (x − mean) / deviation · weight + bias. The variance is summed around the mean, so that a large mean does not cost its digits.
template <class T, int kWidth, int kKept>
struct LayerNormForward {
  static constexpr int kThreads = kWidth;
  struct Shared {};

  const T* x;
  const float* weight;
  const float* bias;
  float epsilon;
  int64_t n;
  bool packed;
  T* y;
  float* mean;
  float* inverse_std;

  template <class Block>
  GRAFT_HOST_DEVICE void operator()(Block& block, Shared&) const {
    using Share = RowShare<kThreads, kKept, 1, Block>;
    using Eights = typename Share::Eights;
    Share share(n);
    const int64_t row = block.index() * n;
    const auto load = [&](int64_t first, int count, Eights& values) { load_eight(x + row + first, count, packed, values[0]); };
    const float sum = share.load_and_sum(block, load, [](const Eights& values, int64_t, int) {
      float total = 0.0f;
      for (int i = 0; i < kEight; ++i) total += values[0][i];
      return total;
    });
    const float centre = sum / static_cast<float>(n);
    const float squares = share.sum(block, load, [&](const Eights& values, int64_t, int count) {
      float total = 0.0f;
      for (int i = 0; i < kEight; ++i) {
        const float distance = i < count ? values[0][i] - centre : 0.0f;
        total = fmaf(distance, distance, total);
      }
      return total;
    });
    const float inverse = 1.0f / sqrtf(squares / static_cast<float>(n) + epsilon);
    block.each([&](int thread) {
      if (thread == 0) {
        mean[block.index()] = centre;
        inverse_std[block.index()] = inverse;
      }
      share.each(thread, load, [&](const Eights& values, int64_t first, int count) {
        float weights[kEight], biases[kEight];
        load_eight(weight + first, count, packed, weights);
        load_eight(bias + first, count, packed, biases);
        for (int i = 0; i < kEight; ++i) weights[i] = fmaf((values[0][i] - centre) * inverse, weights[i], biases[i]);
        store_eight(weights, count, packed, y + row + first);
      });
    });
  }
};

/// dx = inverse · (g·w − mean(g·w) − x̂ · mean(g·w·x̂)).
template <class T, int kWidth, int kKept>
struct LayerNormBackward {
  static constexpr int kThreads = kWidth;
  struct Shared {};

  const T* g;
  const T* x;
  const float* weight;
  const float* mean;
  const float* inverse_std;
  int64_t n;
  bool packed;
  T* dx;

  template <class Block>
  GRAFT_HOST_DEVICE void operator()(Block& block, Shared&) const {
    using Share = RowShare<kThreads, kKept, 2, Block>;  // g·w and x̂
    using Eights = typename Share::Eights;
    Share share(n);
    const int64_t row = block.index() * n;
    const float centre = mean[block.index()], inverse = inverse_std[block.index()], size = static_cast<float>(n);
    const auto load = [&](int64_t first, int count, Eights& values) { load_both(row, first, count, centre, inverse, values); };
    const TwoSums sums = share.load_and_sum(block, load, [](const Eights& values, int64_t, int) {
      TwoSums total{};
      for (int i = 0; i < kEight; ++i) {  // beyond the end g is 0
        total.first += values[0][i];
        total.second = fmaf(values[0][i], values[1][i], total.second);
      }
      return total;
    });
    const float mean_gw = sums.first / size, mean_gwx = sums.second / size;
    block.each([&](int thread) {
      share.each(thread, load, [&](const Eights& values, int64_t first, int count) {
        float gradient[kEight];
        for (int i = 0; i < kEight; ++i) gradient[i] = inverse * fmaf(-values[1][i], mean_gwx, values[0][i] - mean_gw);
        store_eight(gradient, count, packed, dx + row + first);
      });
    });
  }

 private:
  GRAFT_HOST_DEVICE void load_both(int64_t row, int64_t first, int count, float centre, float inverse, float (&values)[2][kEight]) const {
    float weights[kEight];
    load_eight(g + row + first, count, packed, values[0]);
    load_eight(x + row + first, count, packed, values[1]);
    load_eight(weight + first, count, packed, weights);
    for (int i = 0; i < kEight; ++i) {
      values[0][i] *= weights[i];
      values[1][i] = (values[1][i] - centre) * inverse;
    }
  }
};

}  // namespace graft::kernels::detail
