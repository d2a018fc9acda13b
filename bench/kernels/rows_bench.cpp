// Microseconds and GB/s of the row kernels on random data; GB/s counts each operand once. Usage: rows_bench [bf16|fp32] [seconds a case]

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "kernels/base/bfloat16.h"
#include "kernels/rows/attention_rows.h"
#include "kernels/rows/rows.h"

namespace {

using namespace graft::kernels;

/// Zeros would be faster than what happens in a model: the clock depends on the data. On whole cache lines, as a tensor is.
class Numbers {
 public:
  Numbers(Element type, int64_t n)
      : bytes_(static_cast<size_t>(n) * (type == Element::kFloat32 ? 4 : 2)), data_(allocate(), std::free) {
    static std::mt19937 random(7);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < n; ++i) {
      const float value = normal(random);
      if (type == Element::kFloat32) {
        floats()[i] = value;
      } else {
        static_cast<uint16_t*>(data())[i] = float_to_bfloat16(value);
      }
    }
  }
  void copy_from(const Numbers& other) { std::memcpy(data_.get(), other.data_.get(), bytes_); }

  void* data() { return data_.get(); }
  float* floats() { return static_cast<float*>(data_.get()); }
  double size() const { return static_cast<double>(bytes_); }

 private:
  void* allocate() const { return std::aligned_alloc(64, (bytes_ + 63) / 64 * 64); }

  size_t bytes_;
  std::unique_ptr<void, void (*)(void*)> data_;
};

class Bench {
 public:
  Bench(Element type, double seconds) : type_(type), seconds_(seconds) {}

  void norms(int64_t rows, int64_t n);
  void activations(int64_t rows, int64_t n);
  void rotation(int64_t rows, int64_t n);
  void attention(int64_t groups, int64_t queries);
  void vocabulary(int64_t rows, int64_t count, int64_t n);

 private:
  /// prepare() restores what body() overwrites, outside the measured time.
  template <class Prepare, class Body>
  void measure(const char* name, int64_t rows, int64_t n, double bytes, const Prepare& prepare, const Body& body) const {
    std::vector<double> times;
    double spent = 0;
    while (times.size() < 20 || spent < seconds_) {
      prepare();
      const auto begin = std::chrono::steady_clock::now();
      body();
      times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
      spent += times.back();
    }
    std::sort(times.begin(), times.end());
    const double best = times.front(), median = times[times.size() / 2];
    std::printf("%-26s %5lld x %5lld  best %8.1f us, median %8.1f us, %6.1f GB/s at best, %6.1f median\n", name,
                static_cast<long long>(rows), static_cast<long long>(n), best * 1e6, median * 1e6, bytes / best / 1e9, bytes / median / 1e9);
  }
  template <class Body>
  void measure(const char* name, int64_t rows, int64_t n, double bytes, const Body& body) const {
    measure(name, rows, n, bytes, [] {}, body);
  }

  Element type_;
  double seconds_;
};

void Bench::norms(int64_t rows, int64_t n) {
  Numbers x(type_, rows * n), residual(type_, rows * n), sum(type_, rows * n), y(type_, rows * n);
  Numbers weight(Element::kFloat32, n), bias(Element::kFloat32, n), mean(Element::kFloat32, rows), inverse(Element::kFloat32, rows);
  const double one = x.size();
  const std::array<const void*, 1> g{residual.data()};
  const auto backward = [&](const void* beside, float* dweight) -> RmsNormBackward {
    return {.rows = rows, .n = n, .g = g, .beside = beside, .x = x.data(), .weight = weight.floats(), .inverse_rms = inverse.floats(),
            .dx = y.data(), .dweight = dweight};
  };
  measure("rms_norm", rows, n, 2 * one, [&] {
    rms_norm_rows(type_, x.data(), weight.floats(), 1e-5f, rows, n, y.data(), inverse.floats());
  });
  measure("rms_norm backward", rows, n, 3 * one, [&] {
    rms_norm_rows_backward(type_, backward(nullptr, nullptr));
  });
  measure("rms_norm backward, weight", rows, n, 3 * one, [&] {
    rms_norm_rows_backward(type_, backward(nullptr, bias.floats()));
  });
  measure("add_rms_norm", rows, n, 4 * one, [&] {
    add_rms_norm_rows(type_, x.data(), residual.data(), weight.floats(), 1e-5f, rows, n, sum.data(), y.data(), inverse.floats());
  });
  measure("add_rms_norm backward", rows, n, 4 * one, [&] {
    rms_norm_rows_backward(type_, backward(sum.data(), nullptr));
  });
  measure("layer_norm", rows, n, 2 * one, [&] {
    layer_norm_rows(type_, x.data(), weight.floats(), bias.floats(), 1e-5f, rows, n, y.data(), mean.floats(), inverse.floats());
  });
  measure("layer_norm backward", rows, n, 3 * one, [&] {
    layer_norm_rows_backward(type_, residual.data(), x.data(), weight.floats(), mean.floats(), inverse.floats(), rows, n, y.data(),
                             nullptr, nullptr);
  });
}

void Bench::activations(int64_t rows, int64_t n) {
  const int64_t count = rows * n;
  Numbers gate(type_, count), up(type_, count), g(type_, count), dgate(type_, count), dup(type_, count);
  const double one = gate.size();
  measure("swiglu", rows, n, 3 * one, [&] { swiglu_elements(type_, gate.data(), up.data(), count, g.data()); });
  measure("swiglu backward", rows, n, 5 * one, [&] {
    swiglu_elements_backward(type_, g.data(), gate.data(), up.data(), count, dgate.data(), dup.data());
  });
  const struct {
    Gelu form;
    const char *forward, *backward;
  } forms[] = {{Gelu::kExact, "gelu", "gelu backward"},
               {Gelu::kTanh, "gelu tanh", "gelu tanh backward"},
               {Gelu::kQuick, "quick gelu", "quick gelu backward"}};
  for (const auto& of : forms) {
    measure(of.forward, rows, n, 2 * one, [&] { gelu_elements(type_, of.form, gate.data(), count, g.data()); });
    measure(of.backward, rows, n, 3 * one,
            [&] { gelu_elements_backward(type_, of.form, up.data(), gate.data(), count, dgate.data()); });
  }
}

void Bench::rotation(int64_t rows, int64_t n) {
  constexpr int64_t kWidth = 64;
  Numbers x(type_, rows * n), y(type_, rows * n), cosine(Element::kFloat32, rows * kWidth / 2), sine(Element::kFloat32, rows * kWidth / 2);
  measure("rotate_halves", rows, n, 2 * x.size() + 2 * cosine.size(), [&] {
    rotate_halves_rows(type_, x.data(), cosine.floats(), sine.floats(), 1.0f, rows, n / kWidth, kWidth, y.data());
  });
}

void Bench::attention(int64_t groups, int64_t queries) {
  const AttentionBlock block{.groups = groups, .queries = queries, .keys = queries, .causal = true, .scale = 0.125f};
  const int64_t rows = groups * queries;
  Numbers scores(type_, rows * queries), gradient(type_, rows * queries), lse(Element::kFloat32, rows), delta(Element::kFloat32, rows);
  Numbers s(type_, rows * queries), g(type_, rows * queries);
  const auto restore = [&] { s.copy_from(scores), g.copy_from(gradient); };
  measure("softmax", rows, queries, 2 * scores.size(), restore, [&] { softmax_rows(type_, block, s.data(), lse.floats()); });
  measure("softmax backward", rows, queries, 4 * scores.size(), restore, [&] {
    softmax_rows_backward(type_, block, lse.floats(), delta.floats(), s.data(), g.data());
  });
}

void Bench::vocabulary(int64_t rows, int64_t count, int64_t n) {
  Numbers logits(type_, rows * count), part(type_, rows * n), sum(Element::kFloat32, rows * n);
  Numbers top(Element::kFloat32, rows), total(Element::kFloat32, rows), picked(Element::kFloat32, rows), rescale(Element::kFloat32, rows);
  std::vector<int64_t> targets(static_cast<size_t>(rows), 5);
  Numbers overwritten(type_, rows * count);
  const auto restore = [&] {
    overwritten.copy_from(logits);
    std::fill_n(top.floats(), rows, 0.5f), std::fill_n(total.floats(), rows, 1.0f);
  };
  measure("absorb_logits", rows, count, 2 * logits.size(), restore, [&] {
    absorb_logits(type_, {.rows = rows, .count = count, .stride = count, .first = 0}, overwritten.data(), targets.data(),
                  {top.floats(), total.floats(), picked.floats()}, rescale.floats());
  });
  std::fill_n(rescale.floats(), rows, 0.9f);
  measure("rescale_and_add", rows, n, part.size() + 2 * sum.size(), [&] {
    rescale_and_add(type_, part.data(), rescale.floats(), rows, n, sum.floats());
  });
}

}  // namespace

int main(int count, char** arguments) {
  const bool single = count > 1 && std::strcmp(arguments[1], "fp32") == 0;
  Bench bench(single ? Element::kFloat32 : Element::kBFloat16, count > 2 ? std::atof(arguments[2]) : 0.1);
  for (const int64_t n : {576, 1536}) {
    bench.norms(2048, n);
    bench.activations(2048, n);
    bench.rotation(2048, n);
    bench.vocabulary(256, 4096, n);
  }
  bench.attention(9, 512);
}
