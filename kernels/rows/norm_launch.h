#pragma once

// Private to the CUDA variant and its test: gradients of norm weights, and the choice of programs and grids for all norms.

#include "kernels/base/error.h"
#include "kernels/rows/norm_programs.h"

namespace graft::kernels::detail {

constexpr int64_t kRowsOfSlice = 32;

/// First stage: partial[slice, i] = Σ over the rows of a slice, in their order, of g · x̂, and of g for a bias. A thread has a column, a
/// block a slice of 256 columns.
template <class T>
struct SumColumnsOfSlices {
  static constexpr int kThreads = 256;
  struct Shared {};

  ReaderGradients<T> g;
  const T* x;
  const float* mean;  // null: 0
  const float* inverse;
  int64_t rows, n;
  float* of_weight;  // (slices, n)
  float* of_bias;    // the same, or null

  template <class Block>
  GRAFT_HOST_DEVICE void operator()(Block& block, Shared&) const {
    const int64_t tiles = ceil_divide(n, kThreads), slice = block.index() / tiles, tile = block.index() % tiles;
    const int64_t end = slice * kRowsOfSlice + kRowsOfSlice < rows ? slice * kRowsOfSlice + kRowsOfSlice : rows;
    block.each([&](int thread) {
      const int64_t column = tile * kThreads + thread;
      if (column >= n) return;
      float weight_sum = 0.0f, bias_sum = 0.0f;
      for (int64_t row = slice * kRowsOfSlice; row < end; ++row) {
        const float gradient = g.at(row * n + column), centre = mean == nullptr ? 0.0f : mean[row];
        weight_sum = fmaf(gradient, (widen(x[row * n + column]) - centre) * inverse[row], weight_sum);
        bias_sum += gradient;
      }
      of_weight[slice * n + column] = weight_sum;
      if (of_bias != nullptr) of_bias[slice * n + column] = bias_sum;
    });
  }
};

/// Second stage: to[i] += Σ partial[slice, i]. Eight warps take the slices of 32 columns in turn, and their sums are added in order.
struct AddSlices {
  static constexpr int kThreads = 256, kColumns = 32, kParts = kThreads / kColumns;
  struct Shared {
    float parts[kParts][kColumns];
  };

  const float* partial;
  int64_t slices, n;
  float* to;

  template <class Block>
  GRAFT_HOST_DEVICE void operator()(Block& block, Shared& shared) const {
    block.each([&](int thread) {
      const int part = thread / kColumns;
      const int64_t column = block.index() * kColumns + thread % kColumns;
      float sum = 0.0f;
      for (int64_t slice = part; slice < slices && column < n; slice += kParts) sum += partial[slice * n + column];
      shared.parts[part][thread % kColumns] = sum;
    });
    block.each([&](int thread) {
      const int64_t column = block.index() * kColumns + thread;
      if (thread >= kColumns || column >= n) return;
      float sum = 0.0f;
      for (int part = 0; part < kParts; ++part) sum += shared.parts[part][thread];
      to[column] += sum;
    });
  }
};

inline int64_t norm_scratch(int64_t rows, int64_t n, bool with_bias) { return ceil_divide(rows, kRowsOfSlice) * n * (with_bias ? 2 : 1); }

/// dweight and dbias may be null; scratch is norm_scratch() floats.
template <class T, class Launcher>
void launch_norm_gradients(const Launcher& launch, const ReaderGradients<T>& g, const T* x, const float* mean, const float* inverse,
                           int64_t rows, int64_t n, float* dweight, float* dbias, float* scratch) {
  if (dweight == nullptr && dbias == nullptr) return;
  const int64_t slices = ceil_divide(rows, kRowsOfSlice), tiles = ceil_divide(n, SumColumnsOfSlices<T>::kThreads);
  float* of_bias = dbias == nullptr ? nullptr : scratch + slices * n;
  launch(slices * tiles, SumColumnsOfSlices<T>{g, x, mean, inverse, rows, n, scratch, of_bias});
  if (slices == 0) return;
  const int64_t columns = ceil_divide(n, AddSlices::kColumns);
  if (dweight != nullptr) launch(columns, AddSlices{scratch, slices, n, dweight});
  if (dbias != nullptr) launch(columns, AddSlices{of_bias, slices, n, dbias});
}

/// How many threads share a row, and how many of its eights each keeps in registers.
template <int kRowThreads, int kEights>
struct RowShape {
  static constexpr int kThreads = kRowThreads, kKept = kEights;
};

/// Calls body with the storage type and a shape for rows of n: narrow rows would leave most of 256 threads idle.
template <class Body>
void by_row(Element type, int64_t n, const Body& body) {
  by_storage(type, [&](auto tag) {
    if (n <= 64 * 2 * kEight) return body(tag, RowShape<64, 2>());
    if (n <= 256 * 2 * kEight) return body(tag, RowShape<256, 2>());
    body(tag, RowShape<256, 4>());
  });
}

/// True if rows of n and the weights and biases at these places can be taken in packs.
template <class... Pointers>
bool rows_hold_packs(int64_t n, Pointers... pointers) {
  return n % kEight == 0 && (holds_packs(pointers) && ...);
}

/// residual and sum null: plain RMSNorm.
template <class Launcher>
void launch_rms_norm(const Launcher& launch, Element type, const void* x, const void* residual, const float* weight, float epsilon,
                     int64_t rows, int64_t n, void* sum, void* y, float* inverse_rms) {
  const bool packed = rows_hold_packs(n, x, residual, weight, sum, y);
  by_row(type, n, [&](auto tag, auto shape) {
    using T = decltype(tag);
    launch(rows, RmsNormForward<T, shape.kThreads, shape.kKept>{static_cast<const T*>(x), static_cast<const T*>(residual), weight, epsilon, n, packed,
                                              static_cast<T*>(sum), static_cast<T*>(y), inverse_rms});
  });
}

/// The weight's gradient comes first, since dx may be the memory of an input.
template <class Launcher>
void launch_rms_norm_backward(const Launcher& launch, Element type, const RmsNormBackward& norm, float* scratch) {
  GRAFT_ASSERT(!norm.g.empty() && norm.g.size() <= kMostReaders);
  bool packed = rows_hold_packs(norm.n, norm.beside, norm.x, norm.weight, norm.dx);
  for (const void* g : norm.g) packed = packed && holds_packs(g);
  by_row(type, norm.n, [&](auto tag, auto shape) {
    using T = decltype(tag);
    ReaderGradients<T> g{{}, static_cast<int>(norm.g.size())};
    for (size_t k = 0; k < norm.g.size(); ++k) g.of[k] = static_cast<const T*>(norm.g[k]);
    const T *beside = static_cast<const T*>(norm.beside), *x = static_cast<const T*>(norm.x);
    launch_norm_gradients<T>(launch, g, x, nullptr, norm.inverse_rms, norm.rows, norm.n, norm.dweight, nullptr, scratch);
    launch(norm.rows, RmsNormRowBackward<T, shape.kThreads, shape.kKept>{g, beside, x, norm.weight, norm.inverse_rms, norm.n, packed,
                                                       static_cast<T*>(norm.dx)});
  });
}

template <class Launcher>
void launch_layer_norm(const Launcher& launch, Element type, const void* x, const float* weight, const float* bias, float epsilon,
                       int64_t rows, int64_t n, void* y, float* mean, float* inverse_std) {
  const bool packed = rows_hold_packs(n, x, weight, bias, y);
  by_row(type, n, [&](auto tag, auto shape) {
    using T = decltype(tag);
    launch(rows, LayerNormForward<T, shape.kThreads, shape.kKept>{static_cast<const T*>(x), weight, bias, epsilon, n, packed, static_cast<T*>(y), mean,
                                                inverse_std});
  });
}

template <class Launcher>
void launch_layer_norm_backward(const Launcher& launch, Element type, const void* g, const void* x, const float* weight,
                                const float* mean, const float* inverse_std, int64_t rows, int64_t n, void* dx, float* dweight,
                                float* dbias, float* scratch) {
  const bool packed = rows_hold_packs(n, g, x, weight, dx);
  by_row(type, n, [&](auto tag, auto shape) {
    using T = decltype(tag);
    const T *gradient = static_cast<const T*>(g), *from = static_cast<const T*>(x);
    launch_norm_gradients<T>(launch, ReaderGradients<T>{{gradient}, 1}, from, mean, inverse_std, rows, n, dweight, dbias, scratch);
    launch(rows, LayerNormBackward<T, shape.kThreads, shape.kKept>{gradient, from, weight, mean, inverse_std, n, packed, static_cast<T*>(dx)});
  });
}

}  // namespace graft::kernels::detail
