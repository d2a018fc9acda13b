// Milliseconds and GFLOP/s of the attention kernels on random data. Usage: attention_bench [seconds a case]

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/base/bfloat16.h"

namespace {

using graft::kernels::AttentionGradients;
using graft::kernels::AttentionProblem;

struct Case {
  const char* name;
  std::vector<int32_t> lengths;
  int64_t heads, key_heads, width;
  std::vector<int32_t> key_lengths = {};  ///< with a cache; only forward then
};

/// Zeros would be faster than what happens in a model: the clock depends on the data.
std::vector<uint16_t> random_values(int64_t count) {
  static std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> values(static_cast<size_t>(count));
  for (auto& value : values) value = graft::kernels::float_to_bfloat16(normal(random));
  return values;
}

struct Times {
  double best, median;
};

template <class Body>
Times measure(double seconds, const Body& body) {
  std::vector<double> times;
  double spent = 0;
  for (int run = 0; run < 3; ++run) body();
  while (times.size() < 10 || spent < seconds) {
    const auto begin = std::chrono::steady_clock::now();
    body();
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    spent += times.back();
  }
  std::sort(times.begin(), times.end());
  return {times.front(), times[times.size() / 2]};
}

void print(const char* name, const char* pass, Times times, double flops) {
  std::printf("%-34s %-8s best %7.3f ms, median %7.3f ms, %6.0f GFLOP/s at best\n", name, pass, times.best * 1e3, times.median * 1e3,
              flops / times.best / 1e9);
}

void run(const Case& of, double seconds) {
  int64_t queries = 0, tokens = 0;
  double pairs = 0;
  for (size_t s = 0; s < of.lengths.size(); ++s) {
    const int32_t length = of.lengths[s], keys = of.key_lengths.empty() ? length : of.key_lengths[s];
    queries += length;
    tokens += keys;
    pairs += length * (keys - length + 0.5 * (length + 1.0));
  }
  const int64_t row = of.heads * of.width, key_row = of.key_heads * of.width, stride = row + 2 * key_row;
  const auto qkv = random_values(tokens * stride), gradient = random_values(queries * row);
  std::vector<uint16_t> out(gradient.size()), dqkv(qkv.size());
  std::vector<float> log_sum_exp(static_cast<size_t>(queries * of.heads));
  AttentionProblem problem;
  problem.lengths = of.lengths;
  problem.key_lengths = of.key_lengths;
  problem.heads = of.heads;
  problem.key_heads = of.key_heads;
  problem.width = of.width;
  problem.scale = 1.0f / std::sqrt(static_cast<float>(of.width));
  problem.q = {qkv.data(), stride};
  problem.k = {qkv.data() + row, stride};
  problem.v = {qkv.data() + row + key_row, stride};
  const AttentionGradients gradients{{out.data(), row}, {gradient.data(), row}, log_sum_exp.data(), {dqkv.data(), stride},
                                     {dqkv.data() + row, stride}, {dqkv.data() + row + key_row, stride}};
  const double product = 2.0 * pairs * static_cast<double>(row);
  const auto forward = [&] { attention_forward(problem, {out.data(), row}, log_sum_exp.data()); };
  print(of.name, "forward", measure(seconds, forward), 2 * product);
  if (!of.key_lengths.empty()) return;
  print(of.name, "backward", measure(seconds, [&] { attention_backward(problem, gradients); }), 5 * product);
}

}  // namespace

int main(int count, char** arguments) {
  const double seconds = count > 1 ? std::atof(arguments[1]) : 0.3;
  std::vector<int32_t> many_short;
  for (int i = 0; i < 20; ++i) many_short.push_back(5 + (i * 97) % 190);
  for (const auto& of : {Case{"1 x 2,048, heads 9/3 x 64", {2048}, 9, 3, 64},
                         Case{"4 x 512, heads 9/3 x 64", {512, 512, 512, 512}, 9, 3, 64},
                         Case{"20 of 5 to 195, heads 9/3 x 64", many_short, 9, 3, 64},
                         Case{"4 x 512, heads 14/2 x 64", {512, 512, 512, 512}, 14, 2, 64},
                         Case{"1 x 2,048, heads 16/8 x 128", {2048}, 16, 8, 128},
                         Case{"1 with 1,024 keys, heads 9/3 x 64", {1}, 9, 3, 64, {1024}},
                         Case{"16 with 1,024 keys, heads 9/3 x 64", {16}, 9, 3, 64, {1024}}}) {
    run(of, seconds);
  }
}
