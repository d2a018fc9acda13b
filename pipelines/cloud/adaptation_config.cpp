#include "pipelines/cloud/adaptation_config.h"

#include "kernels/base/error.h"

namespace graft::pipelines {

void validate(const CloudConfig& config) {
  expect_range("cloud.head_ratio", config.head_ratio, 0, 1);
  expect_range("cloud.context_tokens", static_cast<double>(config.context_tokens), 1, 32);
  expect_range("cloud.points", static_cast<double>(config.points), 1, 1e6);
  for (const auto& [key, text] : {std::pair{"cloud.text", &config.text}, {"cloud.description", &config.description}})
    if (text->find("{}") == std::string::npos)
      throw InvalidArgument({.where = key, .what = "does not say where the class stands", .expected = "a text with {}", .got = "'" + *text + "'"});
}

void validate(const LossConfig& config) {
  for (const auto& [key, value] : {std::pair{"ce", config.ce}, {"confidence", config.confidence}, {"transport", config.transport},
                                   {"prototype", config.prototype}, {"orthogonality", config.orthogonality}, {"entropy", config.entropy},
                                   {"diversity", config.diversity}, {"anchor", config.anchor}})
    expect_range(std::string("loss.") + key, value, 0, 1e6);
  expect_range("loss.blur", config.blur, 1e-4, 1e3);
  expect_range("loss.temperature", config.temperature, 0, 1e3);
  expect_range("loss.prototype_every", static_cast<double>(config.prototype_every), 0, 1e9);
}

}  // namespace graft::pipelines
