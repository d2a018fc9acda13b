// Times of kernels/packed_linear at the shapes of small language models: best and median in ms, GFLOP/s of the best (GB/s read for
// packing). Random data, since zeros run faster. Arguments: repetitions of each (default 30), then the numbers of rows (default 2048 512
// 128).

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "bench/kernels/timing.h"
#include "kernels/base/bfloat16.h"
#include "kernels/packed_linear/packed_linear.h"
#include "kernels/tiles/aligned_buffer.h"

namespace graft::kernels {
namespace {

struct Shape {
  const char* name;
  int64_t in, out;
};

constexpr Shape kShapes[] = {{"SmolLM2 gate, up", 576, 1536}, {"SmolLM2 down", 1536, 576}, {"SmolLM2 q, o", 576, 576},
                             {"SmolLM2 k, v", 576, 192},      {"Qwen 0.5B gate, up", 896, 4864}, {"Qwen 0.5B down", 4864, 896},
                             {"Qwen 0.5B q, o", 896, 896},    {"1.7B q, o", 2048, 2048}};

struct Values {
  AlignedBuffer<uint16_t> memory;
  explicit Values(int64_t count) : memory(static_cast<size_t>(count)) {
    static std::mt19937 random(7);
    for (int64_t i = 0; i < count; ++i) {
      memory.data()[i] = float_to_bfloat16(static_cast<float>(static_cast<int32_t>(random())) * 0x1p-31f);
    }
  }
  uint16_t* data() { return memory.data(); }
};

void report(const char* what, int64_t rows, int64_t in, int64_t out, double flops, int repetitions, const std::function<void()>& work) {
  const auto [best, median] = bench::timed(repetitions, work);
  std::printf("%-20s %5ld x %5ld -> %5ld  best %8.3f  median %8.3f ms  %6.0f GFLOP/s\n", what, static_cast<long>(rows), static_cast<long>(in),
              static_cast<long>(out), best, median, flops / best * 1e-6);
}

void measure(const Shape& shape, int64_t rows, int repetitions) {
  constexpr int64_t kRank = 16;
  const int64_t in = shape.in, out = shape.out;
  Values x(rows * in), weight(out * in), packed(packed_weight_size(out, in)), y(rows * out), down(rows * kRank);
  Values factor(std::max(in, out) * kRank);
  AlignedBuffer<float> gradient(static_cast<size_t>(std::max(in, out) * kRank));
  const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
  const double narrow_in = 2.0 * static_cast<double>(rows * in * kRank), narrow_out = 2.0 * static_cast<double>(rows * out * kRank);
  pack_weight({weight.data(), in, 0, out}, out, in, packed.data());
  PackedLinear p;
  p.rows = rows, p.in = in, p.out = out, p.x = x.data(), p.x_stride = in, p.weight = packed.data(), p.y = y.data(), p.y_stride = out;
  report(shape.name, rows, in, out, flops, repetitions, [&] { packed_linear(p); });
  p.stream_y = true;
  report("  streamed", rows, in, out, flops, repetitions, [&] { packed_linear(p); });
  p.stream_y = false;
  p.rank = kRank, p.down = down.data(), p.down_stride = kRank, p.up.bf16 = factor.data(), p.up.row_stride = kRank;
  report("  + rank 16, fused", rows, in, out, flops + narrow_out, repetitions, [&] { packed_linear(p); });
  NarrowProduct n;
  n.rows = rows, n.in = in, n.rank = kRank, n.x = x.data(), n.x_stride = in, n.a.bf16 = factor.data(), n.a.row_stride = in;
  n.down = down.data(), n.down_stride = kRank;
  report("  down product", rows, in, kRank, narrow_in, repetitions, [&] { narrow_product(n); });
  FactorGradient g;
  g.rows = rows, g.rank = kRank, g.columns = in, g.narrow = down.data(), g.narrow_stride = kRank, g.wide = x.data(), g.wide_stride = in;
  g.out = gradient.data(), g.out_stride = in;
  report("  gradient of A", rows, in, kRank, narrow_in, repetitions, [&] { factor_gradient(g); });
  g.columns = out, g.wide = y.data(), g.wide_stride = out, g.transposed = true, g.out_stride = kRank;
  report("  gradient of B", rows, kRank, out, narrow_out, repetitions, [&] { factor_gradient(g); });
  // The same product with a weight whose packed copy is for the other side, (in, out) there.
  p.rank = 0, p.turned = true;
  report("  turned", rows, in, out, flops, repetitions, [&] { packed_linear(p); });
  if (rows > 512) {
    const double moved = 2.0 * static_cast<double>(in * out);
    const WeightRows all{weight.data(), in, 0, out};
    report("  packing", out, in, out, moved, repetitions, [&] { pack_weight(all, out, in, packed.data()); });
    Values other(packed_weight_size(in, out));
    report("  packing, transposed", out, in, out, moved, repetitions, [&] { pack_weight_transposed(all, out, in, other.data()); });
  }
}

}  // namespace
}  // namespace graft::kernels

int main(int argc, char** argv) {
  const int repetitions = argc > 1 ? std::max(1, std::atoi(argv[1])) : 30;
  std::vector<int64_t> row_counts = {2048, 512, 128};
  if (argc > 2) row_counts.clear();
  for (int i = 2; i < argc; ++i) row_counts.push_back(std::max(1, std::atoi(argv[i])));
  for (const int64_t rows : row_counts) {
    for (const auto& shape : graft::kernels::kShapes) graft::kernels::measure(shape, rows, repetitions);
  }
  return 0;
}
