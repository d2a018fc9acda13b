#pragma once

// Private to the CUDA variant and its test: activations and rotation as block programs.

#include <cstdint>

#include "kernels/base/block_program.h"
#include "kernels/rows/activation_functions.h"
#include "kernels/rows/element.h"

namespace graft::kernels::detail {

/// Calls body with a number of the storage type.
template <class Body>
void by_storage(Element type, const Body& body) {
  if (type == Element::kFloat32) return body(float{});
  body(uint16_t{});
}

/// outputs[k][i] = the operation's k-th result for the inputs' numbers i. Outputs may be inputs: a thread reads its eight before it writes.
template <class T, class Operation>
struct MapElements {
  static constexpr int kThreads = 256, kInputs = Operation::kInputs, kOutputs = Operation::kOutputs;
  struct Shared {};

  const T* inputs[kInputs];
  T* outputs[kOutputs];
  int64_t n;
  bool packed;

  template <class Block>
  GRAFT_HOST_DEVICE void operator()(Block& block, Shared&) const {
    block.each([&](int thread) {
      const int64_t first = (block.index() * kThreads + thread) * kEight;
      if (first >= n) return;
      const int count = count_of_eight(first, n);
      float in[kInputs][kEight], out[kOutputs][kEight];
      for (int k = 0; k < kInputs; ++k) load_eight(inputs[k] + first, count, packed, in[k]);
      for (int i = 0; i < kEight; ++i) {
        float arguments[kInputs], results[kOutputs];
        for (int k = 0; k < kInputs; ++k) arguments[k] = in[k][i];
        Operation::apply(arguments, results);
        for (int k = 0; k < kOutputs; ++k) out[k][i] = results[k];
      }
      for (int k = 0; k < kOutputs; ++k) store_eight(out[k], count, packed, outputs[k] + first);
    });
  }
};

template <class T, class Operation, class Launcher>
void launch_map(const Launcher& launch, MapElements<T, Operation> map) {
  map.packed = true;
  for (const T* p : map.inputs) map.packed = map.packed && holds_packs(p);
  for (const T* p : map.outputs) map.packed = map.packed && holds_packs(p);
  launch(ceil_divide(map.n, int64_t{map.kThreads} * kEight), map);
}

struct Swiglu {
  static constexpr int kInputs = 2, kOutputs = 1;
  GRAFT_HOST_DEVICE static void apply(const float (&in)[2], float (&out)[1]) { out[0] = swiglu(in[0], in[1]); }
};
struct SwigluBackward {
  static constexpr int kInputs = 3, kOutputs = 2;
  GRAFT_HOST_DEVICE static void apply(const float (&in)[3], float (&out)[2]) {
    const SwigluGradient gradient = swiglu_gradient(in[0], in[1], in[2]);
    out[0] = gradient.gate;
    out[1] = gradient.up;
  }
};
template <Gelu kForm>
struct GeluForward {
  static constexpr int kInputs = 1, kOutputs = 1;
  GRAFT_HOST_DEVICE static void apply(const float (&in)[1], float (&out)[1]) { out[0] = GeluCurve<kForm>::value(in[0]); }
};
template <Gelu kForm>
struct GeluBackward {
  static constexpr int kInputs = 2, kOutputs = 1;
  GRAFT_HOST_DEVICE static void apply(const float (&in)[2], float (&out)[1]) { out[0] = in[0] * GeluCurve<kForm>::slope(in[1]); }
};

template <class Operation, class Launcher>
void launch_one_input(const Launcher& launch, Element type, const void* x, int64_t n, void* y) {
  by_storage(type, [&](auto tag) {
    using T = decltype(tag);
    launch_map(launch, MapElements<T, Operation>{{static_cast<const T*>(x)}, {static_cast<T*>(y)}, n, false});
  });
}

template <class Operation, class Launcher>
void launch_two_inputs(const Launcher& launch, Element type, const void* a, const void* b, int64_t n, void* y) {
  by_storage(type, [&](auto tag) {
    using T = decltype(tag);
    launch_map(launch, MapElements<T, Operation>{{static_cast<const T*>(a), static_cast<const T*>(b)}, {static_cast<T*>(y)}, n, false});
  });
}

template <class Launcher>
void launch_swiglu(const Launcher& launch, Element type, const void* gate, const void* up, int64_t n, void* product) {
  launch_two_inputs<Swiglu>(launch, type, gate, up, n, product);
}

template <class Launcher>
void launch_swiglu_backward(const Launcher& launch, Element type, const void* g, const void* gate, const void* up, int64_t n, void* dgate,
                            void* dup) {
  by_storage(type, [&](auto tag) {
    using T = decltype(tag);
    launch_map(launch, MapElements<T, SwigluBackward>{{static_cast<const T*>(g), static_cast<const T*>(gate), static_cast<const T*>(up)},
                                                      {static_cast<T*>(dgate), static_cast<T*>(dup)}, n, false});
  });
}

template <class Launcher>
void launch_gelu(const Launcher& launch, Element type, Gelu form, const void* x, int64_t n, void* y) {
  switch (form) {
    case Gelu::kExact: return launch_one_input<GeluForward<Gelu::kExact>>(launch, type, x, n, y);
    case Gelu::kTanh: return launch_one_input<GeluForward<Gelu::kTanh>>(launch, type, x, n, y);
    case Gelu::kQuick: return launch_one_input<GeluForward<Gelu::kQuick>>(launch, type, x, n, y);
  }
}

template <class Launcher>
void launch_gelu_backward(const Launcher& launch, Element type, Gelu form, const void* g, const void* x, int64_t n, void* dx) {
  switch (form) {
    case Gelu::kExact: return launch_two_inputs<GeluBackward<Gelu::kExact>>(launch, type, g, x, n, dx);
    case Gelu::kTanh: return launch_two_inputs<GeluBackward<Gelu::kTanh>>(launch, type, g, x, n, dx);
    case Gelu::kQuick: return launch_two_inputs<GeluBackward<Gelu::kQuick>>(launch, type, g, x, n, dx);
  }
}

/// A thread turns eight pairs of one head: numbers i and i + width/2.
template <class T>
struct RotateHalves {
  static constexpr int kThreads = 256;
  struct Shared {};

  const T* x;
  const float* cosine;
  const float* sine;
  float sign;
  int64_t head_count, heads, half;  // head_count: tokens · heads
  bool packed;
  T* y;

  template <class Block>
  GRAFT_HOST_DEVICE void operator()(Block& block, Shared&) const {
    block.each([&](int thread) {
      const int64_t eights = ceil_divide(half, kEight), number = block.index() * kThreads + thread;
      const int64_t head = number / eights, at = number % eights * kEight;
      if (head >= head_count) return;
      const int count = count_of_eight(at, half);
      const int64_t first = head * 2 * half + at, second = first + half, angle = head / heads * half + at;
      float a[kEight], b[kEight], c[kEight], s[kEight];
      load_eight(x + first, count, packed, a);
      load_eight(x + second, count, packed, b);
      load_eight(cosine + angle, count, packed, c);
      load_eight(sine + angle, count, packed, s);
      for (int i = 0; i < kEight; ++i) {
        const float turned = sign * s[i], left = a[i];
        a[i] = fmaf(left, c[i], -(b[i] * turned));
        b[i] = fmaf(b[i], c[i], left * turned);
      }
      store_eight(a, count, packed, y + first);
      store_eight(b, count, packed, y + second);
    });
  }
};

template <class Launcher>
void launch_rotate_halves(const Launcher& launch, Element type, const void* x, const float* cosine, const float* sine, float sign,
                          int64_t tokens, int64_t heads, int64_t width, void* y) {
  const int64_t half = width / 2, threads = tokens * heads * ceil_divide(half, kEight);
  const bool packed = half % kEight == 0 && holds_packs(x) && holds_packs(y) && holds_packs(cosine) && holds_packs(sine);
  by_storage(type, [&](auto tag) {
    using T = decltype(tag);
    const RotateHalves<T> program{static_cast<const T*>(x), cosine, sine, sign, tokens * heads, heads, half, packed, static_cast<T*>(y)};
    launch(ceil_divide(threads, program.kThreads), program);
  });
}

}  // namespace graft::kernels::detail
