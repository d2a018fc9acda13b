#pragma once

// Private to the CUDA variant and its test: the norms of rows as block programs, one block a row.

#include <cmath>
#include <cstdint>

#include "kernels/base/block_program.h"
#include "kernels/rows/element_programs.h"
#include "kernels/rows/norm_rows.h"

namespace graft::kernels::detail {

/// A row of n numbers as a block's threads share it.
template <int kThreadsOfRow, class Block>
struct RowSum {
  /// Σ over the row of what term(first, count) returns for each eight, the same for every thread.
  template <class Term>
  GRAFT_HOST_DEVICE static float of(Block& block, int64_t n, const Term& term) {
    typename Block::template PerThread<float> sums;
    block.each([&](int thread) {
      float sum = 0.0f;
      over_eights(thread, kThreadsOfRow, n, [&](int64_t first, int count) { sum += term(first, count); });
      sums[thread] = sum;
    });
    return block.reduce(sums, Add());
  }
};

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
template <class T, int kWidth>
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
    const int64_t row = block.index() * n;
    const T* normed = residual == nullptr ? x + row : sum + row;  // in the second phase
    const float squares = RowSum<kThreads, Block>::of(block, n, [&](int64_t first, int count) {
      float values[kEight];
      load_eight(x + row + first, count, packed, values);
      if (residual != nullptr) add_residual(row + first, count, values);
      float total = 0.0f;
      for (int i = 0; i < kEight; ++i) total = fmaf(values[i], values[i], total);
      return total;
    });
    const float inverse = 1.0f / sqrtf(squares / static_cast<float>(n) + epsilon);
    block.each([&](int thread) {
      if (thread == 0) inverse_rms[block.index()] = inverse;
      over_eights(thread, kThreads, n, [&](int64_t first, int count) {
        float values[kEight], weights[kEight];
        load_eight(normed + first, count, packed, values);
        load_eight(weight + first, count, packed, weights);
        for (int i = 0; i < kEight; ++i) values[i] = values[i] * inverse * weights[i];
        store_eight(values, count, packed, y + row + first);
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
template <class T, int kWidth>
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
    const int64_t row = block.index() * n;
    const float inverse = inverse_rms[block.index()];
    const float dot = RowSum<kThreads, Block>::of(block, n, [&](int64_t first, int count) {
      float gw[kEight], values[kEight];
      load_products(row, first, count, gw);
      load_eight(x + row + first, count, packed, values);
      float total = 0.0f;
      for (int i = 0; i < kEight; ++i) total = fmaf(gw[i], values[i], total);
      return total;
    });
    const float mean = dot * inverse / static_cast<float>(n);
    block.each([&](int thread) {
      over_eights(thread, kThreads, n, [&](int64_t first, int count) {
        float gw[kEight], values[kEight], joined[kEight] = {};
        load_products(row, first, count, gw);
        load_eight(x + row + first, count, packed, values);
        if (beside != nullptr) load_eight(beside + row + first, count, packed, joined);
        for (int i = 0; i < kEight; ++i) values[i] = fmaf(inverse, fmaf(-(values[i] * inverse), mean, gw[i]), joined[i]);
        store_eight(values, count, packed, dx + row + first);
      });
    });
  }

 private:
  GRAFT_HOST_DEVICE void load_products(int64_t row, int64_t first, int count, float (&gw)[kEight]) const {
    float weights[kEight];
    g.load(row + first, count, packed, gw);
    load_eight(weight + first, count, packed, weights);
    for (int i = 0; i < kEight; ++i) gw[i] *= weights[i];
  }
};

/// y = (x − mean) / deviation · weight + bias. The variance is summed around the mean, so that a large mean does not cost its digits.
template <class T, int kWidth>
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
    const int64_t row = block.index() * n;
    const float sum = RowSum<kThreads, Block>::of(block, n, [&](int64_t first, int count) {
      float values[kEight], total = 0.0f;
      load_eight(x + row + first, count, packed, values);
      for (int i = 0; i < kEight; ++i) total += values[i];
      return total;
    });
    const float centre = sum / static_cast<float>(n);
    const float squares = RowSum<kThreads, Block>::of(block, n, [&](int64_t first, int count) {
      float values[kEight], total = 0.0f;
      load_eight(x + row + first, count, packed, values);
      for (int i = 0; i < kEight; ++i) {
        const float distance = i < count ? values[i] - centre : 0.0f;
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
      over_eights(thread, kThreads, n, [&](int64_t first, int count) {
        float values[kEight], weights[kEight], biases[kEight];
        load_eight(x + row + first, count, packed, values);
        load_eight(weight + first, count, packed, weights);
        load_eight(bias + first, count, packed, biases);
        for (int i = 0; i < kEight; ++i) values[i] = fmaf((values[i] - centre) * inverse, weights[i], biases[i]);
        store_eight(values, count, packed, y + row + first);
      });
    });
  }
};

/// dx = inverse · (g·w − mean(g·w) − x̂ · mean(g·w·x̂)).
template <class T, int kWidth>
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
    const int64_t row = block.index() * n;
    const float centre = mean[block.index()], inverse = inverse_std[block.index()], size = static_cast<float>(n);
    const float sum = RowSum<kThreads, Block>::of(block, n, [&](int64_t first, int count) {
      float gw[kEight], normal[kEight], total = 0.0f;
      load_both(row, first, count, centre, inverse, gw, normal);
      for (int i = 0; i < kEight; ++i) total += gw[i];  // beyond the end g is 0
      return total;
    });
    const float dot = RowSum<kThreads, Block>::of(block, n, [&](int64_t first, int count) {
      float gw[kEight], normal[kEight], total = 0.0f;
      load_both(row, first, count, centre, inverse, gw, normal);
      for (int i = 0; i < kEight; ++i) total = fmaf(gw[i], normal[i], total);
      return total;
    });
    const float mean_gw = sum / size, mean_gwx = dot / size;
    block.each([&](int thread) {
      over_eights(thread, kThreads, n, [&](int64_t first, int count) {
        float gw[kEight], normal[kEight];
        load_both(row, first, count, centre, inverse, gw, normal);
        for (int i = 0; i < kEight; ++i) gw[i] = inverse * fmaf(-normal[i], mean_gwx, gw[i] - mean_gw);
        store_eight(gw, count, packed, dx + row + first);
      });
    });
  }

 private:
  GRAFT_HOST_DEVICE void load_both(int64_t row, int64_t first, int count, float centre, float inverse, float (&gw)[kEight],
                                   float (&normal)[kEight]) const {
    float weights[kEight];
    load_eight(g + row + first, count, packed, gw);
    load_eight(x + row + first, count, packed, normal);
    load_eight(weight + first, count, packed, weights);
    for (int i = 0; i < kEight; ++i) {
      gw[i] *= weights[i];
      normal[i] = (normal[i] - centre) * inverse;
    }
  }
};

}  // namespace graft::kernels::detail
