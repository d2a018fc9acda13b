#pragma once

#include <cstdint>

// Element-wise work on rows, in one pass through memory each. Plain loops that the compiler vectorises for several instruction sets;
// the choice falls at load time. Torch-free: pointers to contiguous memory, outputs allocated by the caller, OpenMP inside.
// Sums inside a row and the order of rows never depend on the number of threads.
namespace graft::kernels {

enum class Element { kFloat32, kBFloat16 };

/// y = x / sqrt(mean(x²) + epsilon) · weight for each of `rows` rows of `n`; also writes 1 / sqrt(...) a row.
/// Shapes   x, y (rows, n) of `type`; weight (n) fp32; inverse_rms (rows) fp32.
void rms_norm_rows(Element type, const void* x, const float* weight, float epsilon, int64_t rows, int64_t n, void* y,
                   float* inverse_rms);

/// dx, and where `dweight` is not null, dweight += the weight's gradient (fp32).
void rms_norm_rows_backward(Element type, const void* g, const void* x, const float* weight, const float* inverse_rms,
                            int64_t rows, int64_t n, void* dx, float* dweight);

/// product = silu(gate) · up, over n elements.
void swiglu_elements(Element type, const void* gate, const void* up, int64_t n, void* product);
void swiglu_elements_backward(Element type, const void* g, const void* gate, const void* up, int64_t n, void* dgate, void* dup);

/// Rotates the two halves of every head by the token's angles. x, y (tokens, heads, width); cosine, sine (tokens, width / 2) fp32.
/// `sign` 1 rotates, -1 rotates back.
void rotate_halves_rows(Element type, const void* x, const float* cosine, const float* sine, float sign, int64_t tokens,
                        int64_t heads, int64_t width, void* y);

}  // namespace graft::kernels
