#include "bench/kernels/cuda_bench.h"
#include "kernels/rows/rows_cuda.h"

namespace graft::bench {
namespace {

using kernels::Element;

constexpr double kEpsilon = 1e-5;

struct Shape {
  const char* name;
  int64_t rows, n;
  at::ScalarType type;

  std::string of(const std::string& kernel) const {
    return kernel + ", " + std::to_string(rows) + " x " + std::to_string(n) + (type == at::kFloat ? " fp32" : " bf16") + name;
  }
  Element element() const { return type == at::kFloat ? Element::kFloat32 : Element::kBFloat16; }
  at::Tensor matrix() const { return random_numbers({rows, n}, type); }
  at::Tensor vector() const { return random_numbers({n}, at::kFloat); }
  at::Tensor per_row() const { return random_numbers({rows}, at::kFloat); }
};

const float* floats(const at::Tensor& t) { return t.const_data_ptr<float>(); }
float* floats_of(at::Tensor& t) { return t.mutable_data_ptr<float>(); }

CudaCase rms_norm(const Shape& s) {
  auto x = s.matrix(), weight = s.vector(), y = at::empty_like(x), inverse = s.per_row(), narrow = weight.to(s.type);
  return {.name = s.of("RMSNorm"), .bytes = bytes_of({x, y}),
          .ours = [=]() mutable {
            kernels::rms_norm_rows_cuda(s.element(), x.const_data_ptr(), floats(weight), kEpsilon, s.rows, s.n, y.mutable_data_ptr(),
                                        floats_of(inverse), nullptr);
            return y;
          },
          .libtorch = [=] { return std::get<0>(at::_fused_rms_norm(x, {s.n}, narrow, kEpsilon)); }};
}

CudaCase add_rms_norm(const Shape& s) {
  auto x = s.matrix(), residual = s.matrix(), weight = s.vector(), sum = at::empty_like(x), y = at::empty_like(x), inverse = s.per_row();
  auto narrow = weight.to(s.type);
  return {.name = s.of("sum and RMSNorm"), .bytes = bytes_of({x, residual, sum, y}),
          .ours = [=]() mutable {
            kernels::add_rms_norm_rows_cuda(s.element(), x.const_data_ptr(), residual.const_data_ptr(), floats(weight), kEpsilon, s.rows, s.n,
                                            sum.mutable_data_ptr(), y.mutable_data_ptr(), floats_of(inverse), nullptr);
            return y;
          },
          .libtorch = [=] { return std::get<0>(at::_fused_rms_norm(x + residual, {s.n}, narrow, kEpsilon)); }, .operators = 2};
}

/// Two readers of y, and one of the sum beside it; with the weight's gradient or without, as for a frozen weight.
CudaCase rms_norm_backward(const Shape& s, bool with_weight) {
  auto x = s.matrix(), g = s.matrix(), other = s.matrix(), beside = s.matrix(), weight = s.vector(), dx = at::empty_like(x);
  auto narrow = weight.to(s.type), inverse = std::get<1>(at::_fused_rms_norm(x, {s.n}, narrow, kEpsilon)).contiguous();
  auto dweight = at::zeros_like(weight), scratch = at::empty({kernels::norm_gradient_scratch(s.rows, s.n, false)}, weight.options());
  return {.name = s.of(with_weight ? "RMSNorm backward with weight" : "RMSNorm backward, 2 readers"), .bytes = bytes_of({x, g, other, beside, dx}),
          .ours = [=]() mutable {
            const void* of[] = {g.const_data_ptr(), other.const_data_ptr()};
            kernels::rms_norm_rows_backward_cuda(s.element(), {.rows = s.rows, .n = s.n, .g = of, .beside = beside.const_data_ptr(),
                                                               .x = x.const_data_ptr(), .weight = floats(weight),
                                                               .inverse_rms = floats(inverse), .dx = dx.mutable_data_ptr(),
                                                               .dweight = with_weight ? floats_of(dweight) : nullptr},
                                                 floats_of(scratch), nullptr);
            return dx;
          },
          .libtorch = [=] {
            return std::get<0>(at::_fused_rms_norm_backward(g + other, x, {s.n}, inverse.view({s.rows, 1}), narrow, {true, with_weight})) + beside;
          },
          .operators = 3};
}

CudaCase layer_norm(const Shape& s) {
  auto x = s.matrix(), weight = s.vector(), bias = s.vector(), y = at::empty_like(x), mean = s.per_row(), inverse = s.per_row();
  auto narrow = weight.to(s.type), narrow_bias = bias.to(s.type);
  return {.name = s.of("LayerNorm"), .bytes = bytes_of({x, y}),
          .ours = [=]() mutable {
            kernels::layer_norm_rows_cuda(s.element(), x.const_data_ptr(), floats(weight), floats(bias), kEpsilon, s.rows, s.n,
                                          y.mutable_data_ptr(), floats_of(mean), floats_of(inverse), nullptr);
            return y;
          },
          .libtorch = [=] { return std::get<0>(at::native_layer_norm(x, {s.n}, narrow, narrow_bias, kEpsilon)); }};
}

CudaCase layer_norm_backward(const Shape& s, bool with_weights) {
  auto x = s.matrix(), g = s.matrix(), weight = s.vector(), dx = at::empty_like(x), narrow = weight.to(s.type);
  auto dweight = at::zeros_like(weight), dbias = at::zeros_like(weight);
  auto scratch = at::empty({kernels::norm_gradient_scratch(s.rows, s.n, true)}, weight.options());
  const auto forward = at::native_layer_norm(x, {s.n}, narrow, narrow, kEpsilon);
  const auto mean = std::get<1>(forward).contiguous(), inverse = std::get<2>(forward).contiguous();
  return {.name = s.of(with_weights ? "LayerNorm backward with weights" : "LayerNorm backward"), .bytes = bytes_of({x, g, dx}),
          .ours = [=]() mutable {
            kernels::layer_norm_rows_backward_cuda(s.element(), g.const_data_ptr(), x.const_data_ptr(), floats(weight), floats(mean),
                                                   floats(inverse), s.rows, s.n, dx.mutable_data_ptr(),
                                                   with_weights ? floats_of(dweight) : nullptr, with_weights ? floats_of(dbias) : nullptr,
                                                   floats_of(scratch), nullptr);
            return dx;
          },
          .libtorch = [=] {
            return std::get<0>(at::native_layer_norm_backward(g, x, {s.n}, mean.view({s.rows, 1}), inverse.view({s.rows, 1}), narrow, narrow,
                                                              {true, with_weights, with_weights}));
          }};
}

CudaCase swiglu(const Shape& s) {
  auto gate = s.matrix(), up = s.matrix(), product = at::empty_like(gate);
  return {.name = s.of("SwiGLU"), .bytes = bytes_of({gate, up, product}),
          .ours = [=]() mutable {
            kernels::swiglu_elements_cuda(s.element(), gate.const_data_ptr(), up.const_data_ptr(), gate.numel(), product.mutable_data_ptr(), nullptr);
            return product;
          },
          .libtorch = [=] { return at::silu(gate) * up; }, .operators = 2};
}

CudaCase swiglu_backward(const Shape& s) {
  auto g = s.matrix(), gate = s.matrix(), up = s.matrix(), dgate = at::empty_like(gate), dup = at::empty_like(gate);
  const auto kept = at::silu(gate);  // as autograd keeps it
  return {.name = s.of("SwiGLU backward"), .bytes = bytes_of({g, gate, up, dgate, dup}),
          .ours = [=]() mutable {
            kernels::swiglu_elements_backward_cuda(s.element(), g.const_data_ptr(), gate.const_data_ptr(), up.const_data_ptr(), gate.numel(),
                                                   dgate.mutable_data_ptr(), dup.mutable_data_ptr(), nullptr);
            return dgate;
          },
          .libtorch = [=] {
            const auto to_up = g * kept;
            return at::silu_backward(g * up, gate);
          },
          .operators = 3};
}

CudaCase gelu(const Shape& s, kernels::Gelu form) {
  auto x = s.matrix(), y = at::empty_like(x);
  const auto approximate = form == kernels::Gelu::kTanh ? "tanh" : "none";
  return {.name = s.of(std::string("GELU ") + approximate), .bytes = bytes_of({x, y}),
          .ours = [=]() mutable {
            kernels::gelu_elements_cuda(s.element(), form, x.const_data_ptr(), x.numel(), y.mutable_data_ptr(), nullptr);
            return y;
          },
          .libtorch = [=] { return at::gelu(x, approximate); }};
}

CudaCase gelu_backward(const Shape& s, kernels::Gelu form) {
  auto x = s.matrix(), g = s.matrix(), dx = at::empty_like(x);
  const auto approximate = form == kernels::Gelu::kTanh ? "tanh" : "none";
  return {.name = s.of(std::string("GELU backward ") + approximate), .bytes = bytes_of({g, x, dx}),
          .ours = [=]() mutable {
            kernels::gelu_elements_backward_cuda(s.element(), form, g.const_data_ptr(), x.const_data_ptr(), x.numel(), dx.mutable_data_ptr(), nullptr);
            return dx;
          },
          .libtorch = [=] { return at::gelu_backward(g, x, approximate); }};
}

CudaCase rotary(const Shape& s) {
  const int64_t width = 128, heads = s.n / width;
  auto x = random_numbers({s.rows, heads, width}, s.type), y = at::empty_like(x);
  const auto angle = random_numbers({s.rows, width / 2}, at::kFloat), cosine = angle.cos(), sine = angle.sin();
  const auto c = cosine.to(s.type).unsqueeze(1), i = sine.to(s.type).unsqueeze(1);
  return {.name = s.of("rotary"), .bytes = bytes_of({x, y, cosine, sine}),
          .ours = [=]() mutable {
            kernels::rotate_halves_rows_cuda(s.element(), x.const_data_ptr(), floats(cosine), floats(sine), 1.0f, s.rows, heads, width,
                                             y.mutable_data_ptr(), nullptr);
            return y;
          },
          .libtorch = [=] {
            const auto halves = x.chunk(2, -1);
            return at::cat({halves[0] * c - halves[1] * i, halves[1] * c + halves[0] * i}, -1);
          },
          .operators = 7};
}

}  // namespace

std::vector<CaseMaker> row_cases() {
  std::vector<CaseMaker> cases;
  for (const Shape& s : {Shape{"", 16384, 4096, at::kBFloat16}, Shape{"", 16384, 4096, at::kFloat}, Shape{", small", 2048, 896, at::kBFloat16}}) {
    cases.insert(cases.end(), {[=] { return rms_norm(s); }, [=] { return add_rms_norm(s); }, [=] { return rms_norm_backward(s, false); },
                               [=] { return rms_norm_backward(s, true); }, [=] { return layer_norm(s); },
                               [=] { return layer_norm_backward(s, false); }, [=] { return layer_norm_backward(s, true); },
                               [=] { return swiglu(s); }, [=] { return swiglu_backward(s); }, [=] { return rotary(s); }});
    for (const auto form : {kernels::Gelu::kExact, kernels::Gelu::kTanh})
      cases.insert(cases.end(), {[=] { return gelu(s, form); }, [=] { return gelu_backward(s, form); }});
  }
  return cases;
}

}  // namespace graft::bench
