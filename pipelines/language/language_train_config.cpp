#include "pipelines/language/language_train_config.h"

namespace graft::pipelines {

void validate(const LanguageTrainConfig& config, const std::string& section) {
  validate(static_cast<const TrainConfig&>(config), section);
  constexpr double kMany = 1e12;  // a bound that only a slip of the pen exceeds
  expect_range(section + ".max_length", static_cast<double>(config.max_length), 2, kMany);
  expect_range(section + ".lora_plus_ratio", config.lora_plus_ratio, 1e-3, 1e3);
  expect_range(section + ".calibration_samples", static_cast<double>(config.calibration_samples), 1, kMany);
}

}  // namespace graft::pipelines
