#include "pipelines/language/language_train_config.h"

#include <gtest/gtest.h>

#include "kernels/base/error.h"

namespace graft::pipelines {
namespace {

TEST(LanguageTrainConfig, ReadsSharedKeysAndItsOwn) {
  const auto config = read_config<LanguageTrainConfig>(ConfigNode::parse("{max_steps: 7, checkpointing: off, packing: false}", "test"));
  EXPECT_EQ(config.max_steps, 7);
  EXPECT_EQ(config.checkpointing, Switch::kOff);
  EXPECT_FALSE(config.packing);
  EXPECT_NO_THROW(validate(config));
}

TEST(LanguageTrainConfig, RefusesWhatIsOutOfRange) {
  for (auto break_it : std::initializer_list<void (*)(LanguageTrainConfig&)>{
           [](LanguageTrainConfig& c) { c.max_length = 1; }, [](LanguageTrainConfig& c) { c.lora_plus_ratio = 0; },
           [](LanguageTrainConfig& c) { c.calibration_samples = 0; }, [](LanguageTrainConfig& c) { c.batch_size = 0; }}) {
    LanguageTrainConfig broken;
    break_it(broken);
    EXPECT_THROW(validate(broken), InvalidArgument);
  }
}

}  // namespace
}  // namespace graft::pipelines
