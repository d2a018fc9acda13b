#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "tests/apps/cloud_clip_fixture.h"
#include "tests/support/temp_dir.h"

namespace graft::apps::cloud {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(CloudTrainSettings, KeysOfLanguageModelsAreRefusedAndNotListed) {
  testing::TempDir folder;
  for (const char* command : {"train", "adapt"}) {
    const auto help = testing::cloud_clip({command, "--help"});
    EXPECT_THAT(help.out + help.err, HasSubstr("train.learning_rate"));
    for (const std::string key : {"max_length", "packing", "checkpointing", "lora_plus_ratio", "calibration_samples"}) {
      std::vector<std::string> words = {command, "--model", "none", "--out", folder / "run", "--set", "train." + key + "=on"};
      const auto data = std::string(command) == "train" ? std::vector<std::string>{"--data", "none"} : std::vector<std::string>{"--source", "none", "--target", "none"};
      words.insert(words.end() - 2, data.begin(), data.end());
      const auto outcome = testing::cloud_clip(words);
      EXPECT_EQ(outcome.code, 2) << key;
      EXPECT_THAT(outcome.err, HasSubstr("unknown"));
      EXPECT_THAT(outcome.err, HasSubstr("train." + key));
      EXPECT_THAT(help.out + help.err, Not(HasSubstr("train." + key)));
    }
  }
}

}  // namespace
}  // namespace graft::apps::cloud
