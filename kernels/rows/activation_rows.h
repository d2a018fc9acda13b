#pragma once

#include <cstdint>

#include "kernels/rows/element.h"

// Activations over n numbers of `type` in one flat piece of memory. Outputs may be the memory of an input.
namespace graft::kernels {

/// product = silu(gate) · up.
void swiglu_elements(Element type, const void* gate, const void* up, int64_t n, void* product);
void swiglu_elements_backward(Element type, const void* g, const void* gate, const void* up, int64_t n, void* dgate, void* dup);

enum class Gelu {
  kExact,  ///< x · Φ(x), Φ the normal distribution: x/2 · (1 + erf(x/√2))
  kTanh,   ///< x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))
  kQuick,  ///< x / (1 + exp(−1.702 x))
};

void gelu_elements(Element type, Gelu form, const void* x, int64_t n, void* y);
void gelu_elements_backward(Element type, Gelu form, const void* g, const void* x, int64_t n, void* dx);

}  // namespace graft::kernels
