#include "pipelines/metrics_log.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/resource.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "peft_core/base/log.h"
#include "tests/support/temp_dir.h"

namespace graft::pipelines {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;

TEST(MetricsLog, EachLineIsInTheFileAtOnce) {
  graft::testing::TempDir dir;
  MetricsLog log(dir / "metrics.jsonl", 1);
  log.append({{"step", 1}, {"loss", 2.5}});
  EXPECT_EQ(graft::testing::read_text(dir / "metrics.jsonl"), "{\"step\":1,\"loss\":2.5}\n");
  log.append({{"step", 2}});
  EXPECT_EQ(read_step_lines(dir.path()).size(), 2u);
}

TEST(MetricsLog, AResumedRunDropsWhatItWillRepeat) {
  graft::testing::TempDir dir;
  graft::testing::write_text(dir / "metrics.jsonl", "{\"step\":1}\n{\"step\":2}\nnonsense\n{\"step\":3}\n{\"step\":4,\"lo");
  MetricsLog log(dir / "metrics.jsonl", 3);
  log.append({{"step", 3}, {"loss", 1}});
  EXPECT_EQ(graft::testing::read_text(dir / "metrics.jsonl"), "{\"step\":1}\n{\"step\":2}\n{\"step\":3,\"loss\":1}\n");
}

TEST(MetricsLog, AFullDiskCostsALineButNeverHalfOfOne) {
  graft::testing::TempDir dir;
  MetricsLog log(dir / "metrics.jsonl", 1);
  log.append({{"step", 1}});
  std::ostringstream messages;
  {
    const LogToStream redirect(messages);
    const auto before = ::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{}, small{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    small = limit;
    small.rlim_cur = 16;  // the next line fits only in part
    ::setrlimit(RLIMIT_FSIZE, &small);
    log.append({{"step", 2}});
    log.append({{"step", 3}});
    ::setrlimit(RLIMIT_FSIZE, &limit);
    ::signal(SIGXFSZ, before);
  }
  log.append({{"step", 4}});
  EXPECT_EQ(graft::testing::read_text(dir / "metrics.jsonl"), "{\"step\":1}\n{\"step\":4}\n");
  const auto text = messages.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
}

TEST(MetricsLog, ReadsBackWhatReportsNeed) {
  graft::testing::TempDir dir;
  EXPECT_TRUE(read_step_lines(dir.path()).empty());
  graft::testing::write_text(dir / "metrics.jsonl", "{\"step\":3,\"loss\":1.5,\"tokens_per_second\":900,\"peak_memory_bytes\":7}\n{\"step\":\"x\"}\n");
  graft::testing::write_text(dir / "evaluations.jsonl", "{\"step\":0,\"loss\":2.0,\"note\":\"x\"}\n");
  EXPECT_THAT(read_step_lines(dir.path()),
              ElementsAre(AllOf(Field(&StepLine::step, 3), Field(&StepLine::loss, 1.5), Field(&StepLine::peak_memory_bytes, 7))));
  const auto evaluations = read_evaluation_lines(dir.path());
  ASSERT_EQ(evaluations.size(), 1u);
  EXPECT_THAT(evaluations[0].metrics, ElementsAre(::testing::Pair("loss", 2.0)));
}

}  // namespace
}  // namespace graft::pipelines
