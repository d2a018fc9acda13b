#include "data_loaders/text/data_config.h"

#include <algorithm>
#include <vector>

#include "kernels/base/error.h"
#include "peft_core/base/text_distance.h"

namespace graft::data {
namespace {

void expect_one_of(const std::string& key, const std::string& value, const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), value) != known.end()) return;
  throw InvalidArgument({.where = "data." + key,
                         .what = "unknown value",
                         .expected = "one of " + join(known),
                         .got = "\"" + value + "\""});
}

void expect_share(const std::string& key, double value) {
  if (value >= 0 && value < 1) return;
  throw InvalidArgument(
      {.where = "data." + key, .what = "is no share", .expected = "0 up to below 1", .got = std::to_string(value)});
}

}  // namespace

void check(const DataConfig& config) {
  record_format(config.format);
  expect_one_of("loss_on", config.loss_on, {"answers", "all"});
  expect_one_of("thinking", config.thinking, {"off", "on"});
  expect_one_of("deduplicate", config.deduplicate, {"off", "exact", "near"});
  expect_share("bad_row_limit", config.bad_row_limit);
  expect_share("eval_share", config.eval_share);
}

}  // namespace graft::data
