#include <ATen/ATen.h>

#include "bench/machine/bench.h"
#include "bench/machine/libtorch_decoder.h"
#include "kernels/ops/rms_norm_op.h"
#include "kernels/ops/rotary_op.h"
#include "kernels/ops/swiglu_op.h"

namespace graft::bench {
namespace {

constexpr int64_t kRows = 2048;
constexpr double kRoundings = 0.01;  // LibTorch rounds between its operators

/// Bytes that an operator cannot do without, forward and backward.
struct Traffic {
  double forward_read, forward_written, backward_read, backward_written;
};

/// Forward and backward of one operator; `ours` and `theirs` give the same values from the same leaves.
template <class Ours, class Theirs>
void measure(Bench& bench, const std::string& name, const std::vector<at::Tensor>& leaves, const Ours& ours, const Theirs& theirs,
             const Traffic& traffic) {
  const auto our_out = ours(), their_out = theirs();
  const auto g = random_tensor(our_out.sizes(), our_out.scalar_type());
  expect_alike(name, our_out, their_out, kRoundings);
  const auto our_gradients = gradients(our_out, leaves, g), their_gradients = gradients(their_out, leaves, g);
  for (size_t i = 0; i < leaves.size(); ++i) expect_alike("gradient of " + name, our_gradients[i], their_gradients[i], kRoundings);
  const auto add = [&](const char* pass, const Turns& turns, double read, double written) {
    bench.report.add({.name = name + pass, .turns = turns, .work = read + written, .unit = "GB/s",
                      .least_seconds = bench.ceilings.memory_seconds(read, written)});
  };
  add(", forward", in_turns({[&] { ours(); }}, {[&] { theirs(); }}, bench.budget), traffic.forward_read, traffic.forward_written);
  add(", backward", in_turns({[&] { gradients(our_out, leaves, g); }}, {[&] { gradients(their_out, leaves, g); }}, bench.budget),
      traffic.backward_read, traffic.backward_written);
}

}  // namespace

void measure_row_operators(Bench& bench) {
  bench.report.section("row operators, 2,048 rows", "ours", "LibTorch");
  constexpr int64_t kHidden = 576, kInner = 1536, kHeads = 9, kWidth = 64;
  const auto leaf = [&](at::IntArrayRef sizes) { return random_tensor(sizes, bench.dtype).requires_grad_(); };
  const auto size = [](const at::Tensor& x) { return static_cast<double>(x.nbytes()); };

  const auto x = leaf({kRows, kHidden});
  const auto weight = random_tensor({kHidden}, at::kFloat, 0.2).add_(1), same_dtype = weight.to(bench.dtype);
  const auto exact = same_dtype.to(at::kFloat);
  measure(bench, "RMS norm 576", {x}, [&] { return ops::rms_norm(x, exact, 1e-5); },
          [&] { return at::rms_norm(x, {kHidden}, same_dtype, 1e-5); }, {size(x), size(x), 2 * size(x), size(x)});

  const auto gate = leaf({kRows, kInner}), up = leaf({kRows, kInner});
  const double one = size(gate);
  measure(bench, "SwiGLU 1536", {gate, up}, [&] { return ops::swiglu(gate, up); }, [&] { return at::silu(gate) * up; },
          {2 * one, one, 3 * one, 2 * one});

  const auto q = leaf({kRows, kHeads, kWidth});
  const RotaryTable table(kRows, kWidth, 10000.0, bench.dtype);
  const double angles = 2 * size(table.cosine);
  measure(bench, "rotary 9 x 64", {q}, [&] { return ops::rotary(q, table.cosine, table.sine); },
          [&] { return rotated_with_libtorch(q, table); }, {size(q) + angles, size(q), size(q) + angles, size(q)});
}

}  // namespace graft::bench
