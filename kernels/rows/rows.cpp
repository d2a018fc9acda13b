#include "kernels/rows/rows.h"

#include <algorithm>

#include "kernels/rows/elements.h"

namespace graft::kernels {
namespace {

using namespace detail;

inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

template <class T>
GRAFT_VECTORISED float rms_norm_row(const T* x, const float* weight, float epsilon, int64_t n, T* y) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += load(x[i]) * load(x[i]);
  const float inverse = 1.0f / std::sqrt(sum / static_cast<float>(n) + epsilon);
  for (int64_t i = 0; i < n; ++i) store(y[i], load(x[i]) * inverse * weight[i]);
  return inverse;
}

/// dx = inverse · (g·w − x̂ · mean(g·w·x̂)), x̂ = x · inverse.
template <class T>
GRAFT_VECTORISED void rms_norm_row_backward(const T* g, const T* x, const float* weight, float inverse, int64_t n, T* dx) {
  float dot = 0;
  for (int64_t i = 0; i < n; ++i) dot += load(g[i]) * weight[i] * load(x[i]);
  const float shift = dot * inverse * inverse / static_cast<float>(n);
  for (int64_t i = 0; i < n; ++i) store(dx[i], inverse * (load(g[i]) * weight[i] - load(x[i]) * shift));
}

template <class T>
GRAFT_VECTORISED void rms_norm_weight_gradient(const T* g, const T* x, float inverse, int64_t n, float* dweight) {
  for (int64_t i = 0; i < n; ++i) dweight[i] += load(g[i]) * load(x[i]) * inverse;
}

template <class T>
GRAFT_VECTORISED void swiglu_span(const T* gate, const T* up, int64_t n, T* product) {
  for (int64_t i = 0; i < n; ++i) {
    const float a = load(gate[i]);
    store(product[i], a * sigmoid(a) * load(up[i]));
  }
}

template <class T>
GRAFT_VECTORISED void swiglu_span_backward(const T* g, const T* gate, const T* up, int64_t n, T* dgate, T* dup) {
  for (int64_t i = 0; i < n; ++i) {
    const float a = load(gate[i]), s = sigmoid(a), go = load(g[i]);
    store(dup[i], go * a * s);
    store(dgate[i], go * load(up[i]) * s * (1.0f + a * (1.0f - s)));
  }
}

template <class T>
GRAFT_VECTORISED void rotate_head(const T* x, const float* cosine, const float* sine, float sign, int64_t half, T* y) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = load(x[i]), b = load(x[half + i]), s = sign * sine[i];
    store(y[i], a * cosine[i] - b * s);
    store(y[half + i], b * cosine[i] + a * s);
  }
}


template <class Body>
void by_element(Element type, const Body& body) {
  if (type == Element::kFloat32) return body(float{});
  body(Bf16{});
}

/// Pieces of a flat range; large enough that a thread's start costs nothing beside the work.
constexpr int64_t kPiece = 16384;

}  // namespace

void rms_norm_rows(Element type, const void* x, const float* weight, float epsilon, int64_t rows, int64_t n, void* y,
                   float* inverse_rms) {
  by_element(type, [&](auto tag) {
    using T = decltype(tag);
    const auto* from = static_cast<const T*>(x);
    auto* to = static_cast<T*>(y);
#pragma omp parallel for schedule(static) if (rows * n > kPiece)
    for (int64_t r = 0; r < rows; ++r) inverse_rms[r] = rms_norm_row(from + r * n, weight, epsilon, n, to + r * n);
  });
}

void rms_norm_rows_backward(Element type, const void* g, const void* x, const float* weight, const float* inverse_rms,
                            int64_t rows, int64_t n, void* dx, float* dweight) {
  by_element(type, [&](auto tag) {
    using T = decltype(tag);
    const auto *gradient = static_cast<const T*>(g), *from = static_cast<const T*>(x);
    auto* to = static_cast<T*>(dx);
#pragma omp parallel for schedule(static) if (rows * n > kPiece)
    for (int64_t r = 0; r < rows; ++r)
      rms_norm_row_backward(gradient + r * n, from + r * n, weight, inverse_rms[r], n, to + r * n);
    if (dweight == nullptr) return;
    // One thread, in row order, so that the sum never depends on the number of threads.
    for (int64_t r = 0; r < rows; ++r) rms_norm_weight_gradient(gradient + r * n, from + r * n, inverse_rms[r], n, dweight);
  });
}

void swiglu_elements(Element type, const void* gate, const void* up, int64_t n, void* product) {
  by_element(type, [&](auto tag) {
    using T = decltype(tag);
    const auto *a = static_cast<const T*>(gate), *b = static_cast<const T*>(up);
    auto* to = static_cast<T*>(product);
#pragma omp parallel for schedule(static) if (n > kPiece)
    for (int64_t at = 0; at < n; at += kPiece) swiglu_span(a + at, b + at, std::min(kPiece, n - at), to + at);
  });
}

void swiglu_elements_backward(Element type, const void* g, const void* gate, const void* up, int64_t n, void* dgate, void* dup) {
  by_element(type, [&](auto tag) {
    using T = decltype(tag);
    const auto *gradient = static_cast<const T*>(g), *a = static_cast<const T*>(gate), *b = static_cast<const T*>(up);
    auto *da = static_cast<T*>(dgate), *db = static_cast<T*>(dup);
#pragma omp parallel for schedule(static) if (n > kPiece)
    for (int64_t at = 0; at < n; at += kPiece)
      swiglu_span_backward(gradient + at, a + at, b + at, std::min(kPiece, n - at), da + at, db + at);
  });
}

void rotate_halves_rows(Element type, const void* x, const float* cosine, const float* sine, float sign, int64_t tokens,
                        int64_t heads, int64_t width, void* y) {
  const int64_t half = width / 2;
  by_element(type, [&](auto tag) {
    using T = decltype(tag);
    const auto* from = static_cast<const T*>(x);
    auto* to = static_cast<T*>(y);
#pragma omp parallel for schedule(static) if (tokens * heads * width > kPiece)
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t h = 0; h < heads; ++h) {
        const int64_t at = (t * heads + h) * width;
        rotate_head(from + at, cosine + t * half, sine + t * half, sign, half, to + at);
      }
  });
}

}  // namespace graft::kernels
