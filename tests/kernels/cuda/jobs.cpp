#include "tests/kernels/cuda/jobs.h"

#include "kernels/depth_views/depth_views_cuda.h"
#include "kernels/gguf_blocks/gguf_blocks_cuda.h"
#include "kernels/head_loss/head_loss_cuda.h"
#include "kernels/nf4/nf4_cuda.h"
#include "kernels/rows/rows_cuda.h"

namespace graft::kernels {
namespace {

float* floats(void* p) { return static_cast<float*>(p); }

struct Jobs {
  int64_t rows, n;
  std::vector<Job> list;
  Element type = Element::kFloat32;

  bool wide() const { return type == Element::kFloat32; }
  Piece numbers(int64_t count) const { return {wide() ? Contents::kNormal32 : Contents::kNormal16, count}; }
  static Piece wide_numbers(int64_t count) { return {Contents::kNormal32, count}; }
  Piece matrix() const { return numbers(rows * n); }

  template <class Launch>
  void add(const std::string& name, std::vector<Piece> pieces, Launch launch) {
    list.push_back({name + (wide() ? " fp32" : " bf16"), std::move(pieces), launch});
  }

  void norms() {
    const int64_t m = rows, width = n;
    const auto of = type;
    const auto w = wide_numbers(n), per_row = wide_numbers(rows), scratch = wide_numbers(norm_gradient_scratch(rows, n, true));
    add("RMSNorm", {matrix(), w, matrix(), per_row}, [=](const auto& p, void* stream) {
      rms_norm_rows_cuda(of, p[0], floats(p[1]), 1e-5f, m, width, p[2], floats(p[3]), stream);
    });
    add("sum and RMSNorm", {matrix(), matrix(), w, matrix(), matrix(), per_row}, [=](const auto& p, void* stream) {
      add_rms_norm_rows_cuda(of, p[0], p[1], floats(p[2]), 1e-5f, m, width, p[3], p[4], floats(p[5]), stream);
    });
    add("RMSNorm backward", {matrix(), matrix(), matrix(), matrix(), w, per_row, matrix(), w, scratch}, [=](const auto& p, void* stream) {
      const void* g[] = {p[0], p[1]};
      rms_norm_rows_backward_cuda(of, {.rows = m, .n = width, .g = g, .beside = p[2], .x = p[3], .weight = floats(p[4]),
                                       .inverse_rms = floats(p[5]), .dx = p[6], .dweight = floats(p[7])}, floats(p[8]), stream);
    });
    add("LayerNorm", {matrix(), w, w, matrix(), per_row, per_row}, [=](const auto& p, void* stream) {
      layer_norm_rows_cuda(of, p[0], floats(p[1]), floats(p[2]), 1e-5f, m, width, p[3], floats(p[4]), floats(p[5]), stream);
    });
    add("LayerNorm backward", {matrix(), matrix(), w, per_row, per_row, matrix(), w, w, scratch}, [=](const auto& p, void* stream) {
      layer_norm_rows_backward_cuda(of, p[0], p[1], floats(p[2]), floats(p[3]), floats(p[4]), m, width, p[5], floats(p[6]), floats(p[7]),
                                    floats(p[8]), stream);
    });
  }

  void elements() {
    const int64_t count = rows * n, tokens = rows, half = n / 2;
    const auto of = type;
    add("SwiGLU", {matrix(), matrix(), matrix()}, [=](const auto& p, void* stream) { swiglu_elements_cuda(of, p[0], p[1], count, p[2], stream); });
    add("SwiGLU backward", {matrix(), matrix(), matrix(), matrix(), matrix()}, [=](const auto& p, void* stream) {
      swiglu_elements_backward_cuda(of, p[0], p[1], p[2], count, p[3], p[4], stream);
    });
    for (const Gelu form : {Gelu::kExact, Gelu::kTanh, Gelu::kQuick}) {
      const auto number = std::to_string(static_cast<int>(form));
      add("GELU " + number, {matrix(), matrix()}, [=](const auto& p, void* stream) { gelu_elements_cuda(of, form, p[0], count, p[1], stream); });
      add("GELU backward " + number, {matrix(), matrix(), matrix()}, [=](const auto& p, void* stream) {
        gelu_elements_backward_cuda(of, form, p[0], p[1], count, p[2], stream);
      });
    }
    const auto heads = numbers(tokens * 3 * 2 * half), angles = wide_numbers(tokens * half);
    add("rotary", {heads, angles, angles, heads}, [=](const auto& p, void* stream) {
      rotate_halves_rows_cuda(of, p[0], floats(p[1]), floats(p[2]), 1.0f, tokens, 3, 2 * half, p[3], stream);
    });
  }

  /// Two chunks of n words each and what stands around them; `part` and `words` as if products had made them.
  void head() {
    const int64_t m = rows, width = n;
    const auto of = wide() ? HeadElement::kFloat32 : HeadElement::kBFloat16;
    const auto per_row = wide_numbers(rows);
    const Piece targets{Contents::kSmallNumbers, rows}, square = numbers(n * n);
    add("head loss", {targets, per_row, per_row, per_row, per_row, per_row, targets, matrix(), matrix(), matrix(), square,
                      wide_numbers(rows * n), matrix(), per_row, matrix()}, [=](const auto& p, void* stream) {
      const HeadRunning running{.rows = m, .targets = static_cast<const int64_t*>(p[0]), .top = floats(p[1]), .sum = floats(p[2]),
                                .target_logit = floats(p[3]), .target_rounding = floats(p[4]), .rescale = floats(p[5]),
                                .best = static_cast<int64_t*>(p[6])};
      begin_head_loss_cuda(running, width, floats(p[11]), stream);
      for (const int64_t chunk : {0, 1}) {
        absorb_logits_cuda(of, running, {chunk * width, width}, p[static_cast<size_t>(7 + chunk)], stream);
        add_head_chunk_cuda(of, running, {chunk * width, width}, width, p[9], p[10], floats(p[11]), p[12], stream);
      }
      finish_head_loss_cuda(of, running, width, floats(p[11]), p[12], floats(p[13]), p[14], stream);
    });
  }

  /// A cloud for each row, seen by matrices that need not be rotations.
  void depths() {
    constexpr int64_t kViews = 2, kSide = 19;
    const int64_t clouds = rows;
    const auto points = wide_numbers(3 * kListLength * clouds), views = wide_numbers(9 * kViews);
    const auto pictures = wide_numbers(clouds * kViews * kSide * kSide), scratch = wide_numbers(depth_views_scratch(clouds, kViews));
    add("depth views", {points, {Contents::kStarts, clouds + 1}, views, pictures, scratch}, [=](const auto& p, void* stream) {
      const DeviceClouds placed{.points = floats(p[0]), .starts = static_cast<const int64_t*>(p[1]), .count = clouds};
      depth_views_cuda(placed, floats(p[2]), kViews, kSide, floats(p[3]), floats(p[4]), stream);
    });
  }

  template <class Out>
  void weights(Piece out) {
    const int64_t count = out.count, blocks = (count + 63) / 64;
    const Piece codes{Contents::kBytes, (count + 1) / 2}, block_codes{Contents::kBytes, blocks};
    add("NF4", {codes, wide_numbers(blocks), out}, [=](const auto& p, void* stream) {
      const Nf4DeviceWeight weight{.codes = static_cast<const uint8_t*>(p[0]), .count = count, .absmax = floats(p[1])};
      dequantize_nf4_cuda(weight, 0, count, static_cast<Out*>(p[2]), stream);
    });
    add("NF4 nested", {codes, block_codes, wide_numbers(256), wide_numbers((blocks + 255) / 256), out}, [=](const auto& p, void* stream) {
      const Nf4DeviceWeight weight{.codes = static_cast<const uint8_t*>(p[0]), .count = count,
                                   .absmax_codes = static_cast<const uint8_t*>(p[1]), .nested_code = floats(p[2]),
                                   .nested_absmax = floats(p[3]), .nested_offset = 0.5f};
      dequantize_nf4_cuda(weight, 0, count, static_cast<Out*>(p[4]), stream);
    });
    for (uint32_t number = 0; number < 64; ++number) {
      if (!is_known_ggml_type(number)) continue;
      const auto format = static_cast<GgmlType>(number);
      const auto layout = block_layout(format);
      const int64_t whole = count / static_cast<int64_t>(layout.elements);
      const Piece bytes{Contents::kBytes, whole * static_cast<int64_t>(layout.bytes)};
      auto to = out;
      to.count = whole * static_cast<int64_t>(layout.elements);
      add(std::string(layout.name), {bytes, to}, [=](const auto& p, void* stream) {
        dequantize_blocks_cuda(format, p[0], whole, static_cast<Out*>(p[1]), stream);
      });
    }
  }
};

}  // namespace

std::vector<Job> every_job(int64_t rows, int64_t n) {
  Jobs jobs{rows, n, {}};
  for (const auto type : {Element::kFloat32, Element::kBFloat16}) {
    jobs.type = type;
    jobs.norms();
    jobs.elements();
    jobs.head();
    if (jobs.wide()) jobs.depths();
    jobs.wide() ? jobs.weights<float>(jobs.matrix()) : jobs.weights<uint16_t>(jobs.matrix());
  }
  return std::move(jobs.list);
}

}  // namespace graft::kernels
