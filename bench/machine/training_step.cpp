#include <fmt/format.h>

#include <cmath>

#include "bench/machine/bench.h"
#include "bench/machine/libtorch_decoder.h"
#include "bench/machine/trainer.h"
#include "kernels/base/error.h"

namespace graft::bench {
namespace {

/// Both sides in turns, then one row of the report.
void compare_step(Bench& bench, OurTrainer& ours, LibtorchTrainer& theirs, const peft::DecoderConfig& config, const StepData& data) {
  double our_loss = 0, their_loss = 0;
  const auto turns = in_turns({[&] { our_loss = ours.step(data); }},
                              {[&] { their_loss = theirs.step(data.tokens.ids, data.targets, data.sequences, kLearningRate); }},
                              {3 * bench.budget.seconds, bench.quick ? 2 : 4});
  // Both took the same number of steps; 30 layers of bf16 roundings at other places, and clipping on our side, move it in the third digit.
  if (!(std::abs(our_loss - their_loss) < 0.02 * their_loss))
    throw NumericalError({.where = "training step", .what = "the two sides' losses differ", .expected = fmt::format("{:.4f}", their_loss),
                          .got = fmt::format("{:.4f}", our_loss)});
  const double flops = step_flops(config, data);
  bench.report.add({.name = fmt::format("{} x {} tokens", data.sequences, data.length), .turns = turns, .work = static_cast<double>(data.size()),
                    .unit = "tokens/s", .least_seconds = flops / bench.ceilings.products(),
                    .note = fmt::format("{:.0f} GFLOP; losses {:.4f} and {:.4f}", flops / 1e9, our_loss, their_loss)});
}

}  // namespace

void measure_step(Bench& bench) {
  bench.report.section("training step, SmolLM2-135M, LoRA r 16", "ours", "LibTorch");
  const auto config = smollm2_config();
  const RandomWeights weights(config, bench.dtype), their_weights(weights, bench.libtorch_dtype);
  OurTrainer ours(config, weights, bench.dtype);
  LibtorchTrainer theirs(config, their_weights, ours.factors(), kAdapterScale);
  compare_step(bench, ours, theirs, config, StepData(config, 4, 512));
}

void measure_scaling(Bench& bench) {
  const auto config = smollm2_config();
  const RandomWeights weights(config, bench.dtype);
  bench.report.section("tokens a step, SmolLM2-135M, LoRA r 16", "ours", "LibTorch");
  OurTrainer one(config, weights, bench.dtype);
  {
    const RandomWeights their_weights(weights, bench.libtorch_dtype);
    LibtorchTrainer theirs(config, their_weights, one.factors(), kAdapterScale);
    for (const int64_t sequences : {1, 2, 4, 8, 16}) compare_step(bench, one, theirs, config, StepData(config, sequences, 512));
  }
  bench.report.section("adapters in a step", "ours", "one adapter");
  const StepData data(config, 8, 512);
  for (const int64_t adapters : {2, 4, 8}) {
    OurTrainer several(config, weights, bench.dtype, adapters);
    const auto turns = in_turns({[&] { several.step(data); }}, {[&] { one.step(data); }}, {3 * bench.budget.seconds, bench.quick ? 2 : 4});
    bench.report.add({.name = fmt::format("{} adapters", adapters), .turns = turns, .work = static_cast<double>(data.size()), .unit = "tokens/s",
                      .least_seconds = step_flops(config, data) / bench.ceilings.products(),
                      .note = fmt::format("{} x {} tokens, each sequence with one of them", data.sequences, data.length)});
  }
}

}  // namespace graft::bench
