#pragma once

// Private to this folder: how rows are shared between threads.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/rows/highway_targets.h"

namespace graft::kernels::detail {

/// The rows, columns or elements begin, …, end − 1.
struct Range {
  int64_t begin, end;
};

/// Numbers below which a thread's start costs more than it saves.
constexpr int64_t kPiece = 16384;

/// Calls body(Range) on pieces of [0, count) of `step` each, on all threads if there are more than kPiece `numbers` to work on. The pieces
/// do not depend on the number of threads, so neither does any result.
template <class Body>
void over_pieces(int64_t count, int64_t step, int64_t numbers, const Body& body) {
  choose_highway_targets();
#pragma omp parallel for schedule(static) if (numbers > kPiece)
  for (int64_t begin = 0; begin < count; begin += step) body(Range{begin, std::min(count, begin + step)});
}

/// Rows of n numbers: a piece is a handful of rows, so that choosing the instruction set is paid once for many numbers.
template <class Body>
void over_rows(int64_t rows, int64_t n, const Body& body) {
  over_pieces(rows, std::clamp<int64_t>(kPiece / 4 / std::max<int64_t>(1, n), 1, 64), rows * n, body);
}

/// A flat range of elements.
template <class Body>
void over_elements(int64_t n, const Body& body) {
  over_pieces(n, kPiece, n, body);
}

/// Σ over rows of `width` numbers each: body(Range, partial) adds its rows' terms, in row order, to partial (width). The rows are cut into
/// slices of a fixed height, whose sums are then added in their order, so that the result does not depend on the number of threads.
template <class Body>
std::vector<float> sum_over_rows(int64_t rows, int64_t width, const Body& body) {
  constexpr int64_t kSlice = 32;
  const int64_t slices = (rows + kSlice - 1) / kSlice;
  std::vector<float> partial(static_cast<size_t>(slices * width)), sum(static_cast<size_t>(width));
  over_pieces(rows, kSlice, rows * width, [&](Range some) { body(some, partial.data() + some.begin / kSlice * width); });
  for (int64_t s = 0; s < slices; ++s)
    for (int64_t i = 0; i < width; ++i) sum[static_cast<size_t>(i)] += partial[static_cast<size_t>(s * width + i)];
  return sum;
}

/// to[i] += terms[i] for n numbers; a null `to` wants nothing.
inline void add_to(float* to, const float* terms, int64_t n) {
  for (int64_t i = 0; i < n && to != nullptr; ++i) to[i] += terms[i];
}

}  // namespace graft::kernels::detail
