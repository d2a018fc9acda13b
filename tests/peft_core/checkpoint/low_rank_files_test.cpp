#include "peft_core/checkpoint/low_rank_files.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "kernels/base/error.h"
#include "tests/peft_core/checkpoint/adapted_decoder.h"
#include "tests/peft_core/checkpoint/random_adapter.h"
#include "tests/support/temp_dir.h"

namespace graft::testing {
namespace {

namespace fs = std::filesystem;
using namespace peft;

TEST(LowRankFiles, KeepUpdatesWithTheirScales) {
  const TempDir dir;
  write_random(dir.path() / "x", "lora", "rank: 4\nalpha: 3\nrank_pattern: {q_proj: 2}\nalpha_pattern: {v_proj: 5}", 1);
  const auto updates = low_rank_updates(read_adapter(dir.path() / "x"), "x");
  EXPECT_EQ(updates.size(), 14u);
  fs::create_directories(dir.path() / "z");
  write_low_rank(dir.path() / "z", updates, {}, {.base_model = "tiny", .base_fingerprint = "tiny"});
  const auto first = tiny_model("llama"), second = tiny_model("llama");
  const auto x = attach_adapter(read_adapter(dir.path() / "x"), first->places(), "tiny", false, "x");
  const auto z = attach_adapter(read_adapter(dir.path() / "z"), second->places(), "tiny", false, "z");
  // The scale is multiplied into B before instead of after a sum of 4 products.
  EXPECT_LT((logits_of(*first) - logits_of(*second)).abs().max().item<double>(), 2e-4);
  EXPECT_GT((logits_of(*first) - logits_of(*tiny_model("llama"))).abs().max().item<double>(), 0.02);
}

TEST(LowRankFiles, ComeInTheOrderOfLayerNumbers) {
  AdapterFiles files;
  files.method = &find_method("lora");
  files.config = ConfigNode::parse("{name: lora, rank: 1, alpha: 1}", "method");
  for (const auto* layer : {"model.layers.10.a", "model.layers.9.b", "model.layers.9.a", "model.layers.100.a"}) {
    files.tensors[std::string(layer) + ".lora_A.weight"] = at::ones({1, 3});
    files.tensors[std::string(layer) + ".lora_B.weight"] = at::ones({2, 1});
  }
  std::vector<std::string> order;
  for (const auto& layer : low_rank_updates(files, "x")) order.push_back(layer.layer);
  EXPECT_EQ(order, (std::vector<std::string>{"model.layers.9.a", "model.layers.9.b", "model.layers.10.a", "model.layers.100.a"}));
  files.tensors.erase("model.layers.9.a.lora_B.weight");
  EXPECT_THROW(low_rank_updates(files, "x"), InvalidArgument);
}

TEST(LowRankFiles, NameTargetsByEndingsWhereAllAdaptersDo) {
  const auto with = [](const std::string& targets) {
    AdapterFiles files;
    files.config = ConfigNode::parse("{name: lora, targets: " + targets + "}", "method");
    return files;
  };
  EXPECT_EQ(common_targets({with("[q_proj, v_proj]"), with("[up_proj, v_proj]")}), (std::vector<std::string>{"q_proj", "up_proj", "v_proj"}));
  EXPECT_TRUE(common_targets({with("[q_proj]"), with("'.*q_proj'")}).empty());
  EXPECT_TRUE(common_targets({with("[q_proj]\n, layers: [1]")}).empty());
}

}  // namespace
}  // namespace graft::testing
