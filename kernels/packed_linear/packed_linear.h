#pragma once

#include <cstdint>

namespace graft::kernels {

// Products of bf16 activations with frozen weights that were laid out once in the order of the tiles, and with the small
// factors of adapters. Sums are fp32 over the whole reduction and rounded once, to nearest even. The same bits come out for any number
// of threads and any number of rows in a call. Bf16 values are uint16_t; strides count values. Subnormal bf16 inputs and results may count
// as zero. All functions throw InvalidArgument for sizes or strides that cannot be.

/// Rows [first, first + count) of a row-major weight W (out, in). `first` is a multiple of 32, and so is `count` unless the rows end with W.
struct WeightRows {
  const uint16_t* values = nullptr;  ///< row `first`
  int64_t stride = 0;                ///< from row to row, at least `in`
  int64_t first = 0;
  int64_t count = 0;
};

/// Values of a packed weight: both sizes rounded up to 32. The memory best begins at a cache line.
int64_t packed_weight_size(int64_t out, int64_t in);

/// W for y = x Wᵀ. Order: [out/32][in/32][2][16 pairs along in][16 along out][2], padded with zeros. Writes only what the rows own, so parts
/// of a weight can be expanded and packed one after the other, or by several threads.
void pack_weight(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed);

/// The same order for Wᵀ, which is (in, out): then packed_linear() with `in` and `out` exchanged gives dx = g W.
/// Size: packed_weight_size(in, out).
void pack_weight_transposed(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed);

/// A weight W (out, in) that is stored in another form. A product expands it a panel at a time, in scratch of the thread that multiplies
/// with the panel, so that it never lies whole in memory. The bits are those of the product with the expanded weight packed.
struct StoredWeight {
  /// Rows [row, row + rows) of W, columns [column, column + columns).
  struct Part {
    int64_t row = 0, rows = 0, column = 0, columns = 0;
  };
  const void* weight = nullptr;
  /// Writes a part as bf16, row-major, rows `stride` apart. Called by several threads at once; must not throw. `column` is a multiple of
  /// `column_unit`, and so is `columns` unless they end the row.
  void (*expand)(const void* weight, const Part& part, uint16_t* to, int64_t stride) = nullptr;
  int64_t column_unit = 32;  ///< a multiple of 32
  bool transposed = false;   ///< for dx = g W: `in` and `out` of the product are exchanged, as with pack_weight_transposed()
};

/// A small trainable matrix, fp32 or bf16, row-major (column_stride 1) or transposed (row_stride 1); is rounded to bf16 after `scale`.
struct Factor {
  const float* fp32 = nullptr;
  const uint16_t* bf16 = nullptr;  ///< if fp32 is null
  int64_t row_stride = 0;
  int64_t column_stride = 1;
  float scale = 1.0f;
};

/// y (rows, out) = x (rows, in) Wᵀ [+ bias] [+ down (rows, rank) upᵀ] [+ y]
struct PackedLinear {
  int64_t rows = 0, in = 0, out = 0;
  const uint16_t* x = nullptr;
  int64_t x_stride = 0;
  const uint16_t* weight = nullptr;  ///< packed; null where it is `stored`
  bool turned = false;               ///< `weight` is its transpose (in, out) as pack_weight() laid it out: dx = g W from the copy for x Wᵀ, with
                                     ///< the bits of pack_weight_transposed(). Each thread turns the panel that it multiplies with next.
  StoredWeight stored;               ///< if weight is null
  const float* bias = nullptr;       ///< (out), or null
  int64_t rank = 0;                  ///< 0 (no such term) to 1,024
  const uint16_t* down = nullptr;    ///< (rows, rank)
  int64_t down_stride = 0;
  Factor up;                         ///< (out, rank)
  bool accumulate = false;           ///< adds to what is in y
  bool stream_y = false;             ///< a hint: writes past the caches, for results that are read much later or do not fit there
  uint16_t* y = nullptr;             ///< must not overlap any input
  int64_t y_stride = 0;
};
void packed_linear(const PackedLinear& product);

/// down (rows, rank) = x (rows, in) Aᵀ for a small A (rank, in) that changes from step to step. With A = `up` transposed, and the
/// gradient of y in place of x, it is the gradient of `down`.
struct NarrowProduct {
  int64_t rows = 0, in = 0, rank = 0;
  const uint16_t* x = nullptr;
  int64_t x_stride = 0;
  Factor a;
  uint16_t* down = nullptr;
  int64_t down_stride = 0;
};
void narrow_product(const NarrowProduct& product);

/// out (rank, columns) = narrowᵀ (rank, rows) wide (rows, columns) * scale, in fp32: the gradients of both factors.
/// dA = (d down)ᵀ x as it stands; dB (out, rank) = gᵀ down with `transposed`, which stores out as (columns, rank).
struct FactorGradient {
  int64_t rows = 0, rank = 0, columns = 0;
  const uint16_t* narrow = nullptr;
  int64_t narrow_stride = 0;
  const uint16_t* wide = nullptr;
  int64_t wide_stride = 0;
  float scale = 1.0f;
  bool transposed = false;
  bool accumulate = false;  ///< adds to what is in `out`
  float* out = nullptr;
  int64_t out_stride = 0;
};
void factor_gradient(const FactorGradient& product);

}  // namespace graft::kernels
