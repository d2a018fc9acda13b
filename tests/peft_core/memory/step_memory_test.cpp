#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "peft_core/memory/block_cache.h"
#include "tests/peft_core/methods/method_fixture.h"

namespace graft::testing {
namespace {

/// The cache as the applications set it up: forward, backward and update of long sequences, whose activations are all large blocks.
TEST(StepMemory, NothingIsAskedOfTheSystemAfterTheSecondStep) {
  peft::use_block_cache();
  for (const auto& [name, storage] : {std::pair{"fp32", kDense}, {"bf16", kDenseBf16}, {"NF4", kNf4}}) {
    const auto adapted = adapt("lora", "", "qwen2", storage);
    const auto batch = tiny_batch({1500, 700, 2000});
    for (const auto checkpointing : {peft::Checkpointing::kOff, peft::Checkpointing::kEveryLayer}) {
      const auto step = [&] {
        adapted.clear_gradients();
        adapted.loss(batch, /*training=*/true, 1, checkpointing).backward();
      };
      step(), step();
      const auto warm = peft::block_cache_figures();
      for (int i = 0; i < 3; ++i) step();
      const auto later = peft::block_cache_figures();
      EXPECT_GT(later.hits, warm.hits + 30) << name << ": the batch is too small to show anything";
      EXPECT_EQ(later.misses, warm.misses) << name;
    }
  }
}

}  // namespace
}  // namespace graft::testing
