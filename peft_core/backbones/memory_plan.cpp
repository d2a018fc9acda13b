#include "peft_core/backbones/memory_plan.h"

#include <ATen/Parallel.h>

#include <cstdio>

#include "kernels/ops/head_loss_op.h"
#include "kernels/ops/products.h"

namespace graft::peft {
namespace {

constexpr int64_t kMebibyte = 1 << 20;
constexpr int64_t kPanel = 2 * kMebibyte;      // a panel of weights, and the sums beside it
// LibTorch, tokenizer, product workspaces, stretches of weights while they are packed; measured on SmolLM2 from GGUF, bf16 and NF4.
constexpr int64_t kProgram = 320 * kMebibyte;
// What LibTorch's products and attention take besides, measured on SmolLM2 with answers and evaluations between the steps.
constexpr int64_t kOperators = 200 * kMebibyte;
// For bf16 it makes code for each size that a product has, and keeps that of the last thousand: batches of ever new lengths fill it in 50 steps.
constexpr int64_t kProductCode = 600 * kMebibyte;

/// Workspaces of a GPU's products and what its allocator cannot use; an estimate that no measurement stands behind yet.
constexpr int64_t kGpuProgram = 512 * kMebibyte;

int64_t operator_bytes(at::ScalarType compute) {
  if (ops::runs_on_tiles(compute)) return 0;
  return kOperators + (compute == at::kBFloat16 ? kProductCode : 0);
}

/// Activations that one layer keeps for its backward pass, a token: inputs of both norms, q, k, v, attention's output, gate and up. What the
/// norms and the gated unit give is made again (kernels/ops/kept_input.h).
int64_t kept_per_token(const DecoderConfig& c) {
  return 2 * c.hidden_size + 2 * c.query_features() + 2 * c.key_value_features() + 2 * c.intermediate_size;
}

/// Gradients that are alive at once while one layer runs backward.
int64_t backward_per_token(const DecoderConfig& c) { return 3 * c.intermediate_size + 4 * c.hidden_size; }

}  // namespace

MemoryPlan plan_memory(const MemoryDemand& demand) {
  const auto& c = demand.config;
  MemoryPlan plan;
  plan.weights = demand.weight_bytes;
  plan.second_copy = demand.second_packing;
  plan.adapters = 4 * demand.trainable;
  plan.optimizer = 4 * (demand.on_gpu ? 2 : 1 + demand.moments) * demand.trainable;
  const int64_t kept = demand.checkpointing ? c.layers * c.hidden_size + kept_per_token(c) : c.layers * kept_per_token(c);
  const int64_t value_bytes = demand.compute == at::kFloat ? 4 : 2;
  plan.activations = demand.tokens * value_bytes * (kept + backward_per_token(c));
  plan.head = demand.on_gpu ? ops::head_loss_bytes_on_device(demand.tokens, c.hidden_size, c.vocabulary, demand.compute)
                            : ops::head_loss_bytes(demand.tokens, c.hidden_size, c.vocabulary, demand.compute);
  // On tiles each thread expands a panel; elsewhere a stored weight is expanded whole.
  const bool on_tiles = !demand.on_gpu && ops::runs_on_tiles(demand.compute);
  plan.scratch = on_tiles ? at::get_num_threads() * kPanel : demand.largest_matrix * value_bytes;
  plan.program = demand.on_gpu ? kGpuProgram : kProgram + operator_bytes(demand.compute);
  return plan;
}

std::string to_text(const MemoryPlan& plan) {
  std::string text;
  const auto line = [&](const char* name, int64_t bytes) {
    char buffer[96];
    std::snprintf(buffer, sizeof buffer, "  %-12s %8.0f MiB\n", name, static_cast<double>(bytes) / kMebibyte);
    text += buffer;
  };
  line("weights", plan.weights);
  if (plan.second_copy > 0) line("second copy", plan.second_copy);
  line("adapters", plan.adapters);
  line("optimizer", plan.optimizer);
  line("activations", plan.activations);
  line("head", plan.head);
  line("scratch", plan.scratch);
  line("program", plan.program);
  line("total", plan.total());
  return text;
}

}  // namespace graft::peft
