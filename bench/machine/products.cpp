#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "bench/machine/bench.h"
#include "peft_core/slots/quantized_linear.h"

namespace graft::bench {
namespace {

constexpr int64_t kRows = 2048;
constexpr double kProductTarget = 1.4;
constexpr double kNf4Target = 1 / 1.1;  // at most 10 % slower than bf16

struct Shape {
  const char* name;
  int64_t in, out;
  int count;  ///< in a layer
};

struct Model {
  const char* name;
  std::vector<Shape> shapes;
};

const std::vector<Model> kModels = {
    {"SmolLM2-135M", {{"q, o", 576, 576, 2}, {"k, v", 576, 192, 2}, {"gate, up", 576, 1536, 2}, {"down", 1536, 576, 1}}},
    {"Qwen2.5-0.5B", {{"q, o", 896, 896, 2}, {"k, v", 896, 128, 2}, {"gate, up", 896, 4864, 2}, {"down", 4864, 896, 1}}}};

double flops(const Shape& shape) { return 2.0 * kRows * static_cast<double>(shape.in * shape.out); }

/// All products of a layer in one row. The spread of the ratio is that of its parts.
class Layer {
 public:
  void add(const Turns& turns, int count) {
    const auto plus = [count](Spread& sum, const Spread& part) {
      sum.median += count * part.median, sum.smallest += count * part.smallest, sum.largest += count * part.largest;
    };
    const auto& part = turns.ratio;
    auto& ratio = sum_.ratio;
    ratio.smallest = sum_.rounds == 0 ? part.smallest : std::min(ratio.smallest, part.smallest);
    ratio.largest = std::max(ratio.largest, part.largest);
    plus(sum_.ours, turns.ours), plus(sum_.theirs, turns.theirs);
    sum_.rounds = turns.rounds;
    ratio.median = sum_.theirs.median / sum_.ours.median;
  }
  const Turns& turns() const { return sum_; }

 private:
  Turns sum_;
};

using Measure = Turns (*)(Bench& bench, const Shape& shape, bool forward);

void measure_model(Bench& bench, const Model& model, bool forward, Measure measure, double target) {
  Layer layer;
  double work = 0;
  const std::string pass = forward ? ", forward" : ", backward";
  for (const auto& shape : model.shapes) {
    const auto turns = measure(bench, shape, forward);
    bench.report.add({.name = fmt::format("{} {} -> {}{}", shape.name, shape.in, shape.out, pass), .turns = turns,
                      .work = flops(shape), .least_seconds = flops(shape) / bench.ceilings.products()});
    layer.add(turns, shape.count);
    work += shape.count * flops(shape);
  }
  bench.report.add({.name = "a layer" + pass, .turns = layer.turns(), .work = work, .least_seconds = work / bench.ceilings.products(),
                    .target = target});
}

/// What a rounding to bf16 leaves, with a wide margin: sums have up to 4,864 terms in another order.
constexpr double kRoundings = 0.01;

Turns beside_libtorch(Bench& bench, const Shape& shape, bool forward) {
  const auto weight = random_tensor({shape.out, shape.in}, bench.dtype, 0.05);
  const auto x = random_tensor({kRows, forward ? shape.in : shape.out}, bench.dtype);
  const auto their_weight = weight.to(bench.libtorch_dtype), their_x = x.to(bench.libtorch_dtype);
  const auto linear = peft::dense_linear(weight);
  const auto ours = [&] { return forward ? linear->project(x) : linear->project_back(x); };
  const auto theirs = [&] { return at::mm(their_x, forward ? their_weight.t() : their_weight); };
  expect_alike(shape.name, ours(), theirs(), kRoundings);
  return in_turns({ours}, {theirs}, bench.budget);
}

Turns nf4_beside_dense(Bench& bench, const Shape& shape, bool forward) {
  const auto weight = random_tensor({shape.out, shape.in}, at::kFloat, 0.05);
  const auto x = random_tensor({kRows, forward ? shape.in : shape.out}, bench.dtype);
  const auto quantised = peft::nf4_linear(weight), dense = peft::dense_linear(quantised->weight().to(bench.dtype));
  const auto ours = [&] { return forward ? quantised->project(x) : quantised->project_back(x); };
  const auto theirs = [&] { return forward ? dense->project(x) : dense->project_back(x); };
  expect_alike(shape.name, ours(), theirs(), kRoundings);
  return in_turns({ours}, {theirs}, bench.budget);
}

}  // namespace

void measure_products(Bench& bench) {
  const at::NoGradGuard no_gradient;
  for (const auto& model : kModels) {
    bench.report.section(std::string("products, ") + model.name, "ours", "at::mm");
    for (const bool forward : {true, false}) measure_model(bench, model, forward, beside_libtorch, kProductTarget);
  }
}

void measure_quantised_products(Bench& bench) {
  const at::NoGradGuard no_gradient;
  for (const auto& model : kModels) {
    bench.report.section(std::string("NF4 products, ") + model.name, "NF4", "ours, dense");
    for (const bool forward : {true, false}) measure_model(bench, model, forward, nf4_beside_dense, kNf4Target);
  }
}

}  // namespace graft::bench
