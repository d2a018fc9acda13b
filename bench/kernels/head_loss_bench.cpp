// Times of kernels/head_loss at the heads of small language models: best and median in ms, GFLOP/s of the best. Random data, since zeros
// run faster. Arguments: repetitions of each (default 12), then the numbers of rows (default 2048 256).

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "bench/kernels/timing.h"
#include "kernels/base/bfloat16.h"
#include "kernels/head_loss/head_loss.h"

namespace graft::kernels {
namespace {

struct Shape {
  const char* name;
  int64_t width, vocabulary;
};

constexpr Shape kShapes[] = {{"SmolLM2-135M", 576, 49152}, {"Qwen2.5-0.5B", 896, 151936}};

/// Values of the size that normalised hidden states and head weights have; the logits then spread by about 1.
std::vector<uint16_t> random_values(int64_t count, float size) {
  std::mt19937 random(7);
  std::vector<uint16_t> values(static_cast<size_t>(count));
  for (auto& value : values) value = float_to_bfloat16(static_cast<float>(static_cast<int32_t>(random())) * 0x1p-31f * size);
  return values;
}

void report(const char* what, const Shape& shape, int64_t rows, int products, int repetitions, const std::function<void()>& work) {
  const auto [best, median] = bench::timed(repetitions, work);
  const double flops = 2.0 * products * static_cast<double>(rows) * static_cast<double>(shape.width * shape.vocabulary);
  std::printf("%-14s %5ld x %4ld, %6ld words  %-20s best %8.2f  median %8.2f ms  %6.0f GFLOP/s  scratch %5.1f MB\n", shape.name,
              static_cast<long>(rows), static_cast<long>(shape.width), static_cast<long>(shape.vocabulary), what, best, median,
              flops / best * 1e-6, static_cast<double>(head_loss_scratch(rows, shape.width, products > 1)) * 1e-6);
}

void measure(const Shape& shape, int64_t rows, int repetitions) {
  const auto hidden = random_values(rows * shape.width, 1.7f), weight = random_values(shape.vocabulary * shape.width, 0.07f);
  std::vector<uint16_t> gradient(hidden.size());
  std::vector<float> nll(static_cast<size_t>(rows));
  std::vector<int64_t> targets(nll.size()), best(nll.size());
  std::mt19937 random(8);
  for (auto& target : targets) target = static_cast<int64_t>(random()) % shape.vocabulary;
  HeadLoss p;
  p.rows = rows, p.width = shape.width, p.vocabulary = shape.vocabulary;
  p.hidden = hidden.data(), p.hidden_stride = shape.width, p.targets = targets.data(), p.nll = nll.data();
  p.words = [&](int64_t first, int64_t) { return WordRows{weight.data() + first * shape.width, shape.width}; };
  report("loss", shape, rows, 1, repetitions, [&] { head_loss(p); });
  p.best = best.data();
  report("loss, best word", shape, rows, 1, repetitions, [&] { head_loss(p); });
  p.best = nullptr, p.gradient = gradient.data(), p.gradient_stride = shape.width;
  report("loss and gradient", shape, rows, 2, repetitions, [&] { head_loss(p); });
}

}  // namespace
}  // namespace graft::kernels

int main(int argc, char** argv) {
  const int repetitions = argc > 1 ? std::max(1, std::atoi(argv[1])) : 12;
  std::vector<int64_t> row_counts = {2048, 256};
  if (argc > 2) row_counts.clear();
  for (int i = 2; i < argc; ++i) row_counts.push_back(std::max(1, std::atoi(argv[i])));
  for (const int64_t rows : row_counts) {
    for (const auto& shape : graft::kernels::kShapes) graft::kernels::measure(shape, rows, repetitions);
  }
  return 0;
}
