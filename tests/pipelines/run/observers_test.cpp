#include <gmock/gmock.h>

#include <sstream>

#include "peft_core/base/log.h"
#include "pipelines/metrics_recorder.h"
#include "pipelines/progress_bar.h"
#include "tests/support/temp_dir.h"

namespace graft::pipelines {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

StepRecord record(int64_t step, double seconds) {
  return {.step = step, .total_steps = 4, .loss = 2.0 / static_cast<double>(step), .learning_rate = 1e-4, .tokens = 100, .seconds = seconds,
          .tokens_per_second = 100 / seconds, .peak_memory_bytes = int64_t{1} << 30};
}

TEST(ProgressBar, ALogFileGetsFewLines) {
  std::ostringstream out;
  const LogToStream redirect(out);
  {
    ProgressBar bar({.redraw = false, .seconds_between_lines = 30});
    bar.on_start(1, 4);
    for (int64_t step = 1; step <= 4; ++step) bar.on_step(record(step, 1.0));
  }
  EXPECT_EQ(out.str(),
            "step 1/4  loss 2.0000  100 tok/s  3 s left  1.0 GiB\n"
            "step 4/4  loss 0.5000  100 tok/s  0 s left  1.0 GiB\n");
}

TEST(ProgressBar, ATerminalKeepsOneLineAndTheLastStateStays) {
  std::ostringstream out;
  const LogToStream redirect(out);
  {
    ProgressBar bar({.redraw = true, .style = {.columns = 64, .unicode = false}});
    bar.on_start(3, 4);
    bar.on_step(record(3, 1.0));
    bar.on_evaluation(3, {{"loss", 1.25}});
    bar.on_step(record(4, 1.0));
  }
  const auto text = out.str();
  EXPECT_THAT(text, StartsWith("going on after step 2 of 4\n\r\x1b[K"));
  EXPECT_THAT(text, HasSubstr("\r\x1b[Kafter step 3:  loss 1.2500\n"));
  EXPECT_THAT(text, EndsWith("\r\x1b[K##########  4/4  loss 0.5000     100 tok/s    0 s left  1.0 GiB\n"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
}

TEST(MetricsRecorder, WritesTheKeysThatScriptsReadAndResumes) {
  graft::testing::TempDir dir;
  {
    MetricsRecorder recorder(dir.path());
    recorder.on_evaluation(0, {{"loss", 3.0}});
    recorder.on_start(1, 4);
    for (int64_t step = 1; step <= 3; ++step) recorder.on_step(record(step, 0.5));
    recorder.on_evaluation(2, {{"loss", 2.0}});
  }
  MetricsRecorder recorder(dir.path());
  recorder.on_start(3, 4);
  recorder.on_step(record(3, 0.25));
  const auto text = graft::testing::read_text(dir / "metrics.jsonl");
  for (const auto* key : {"step", "loss", "learning_rate", "tokens_per_second", "peak_memory_bytes"}) {
    EXPECT_THAT(text, HasSubstr("\"" + std::string(key) + "\":"));
  }
  const auto steps = read_step_lines(dir.path());
  ASSERT_EQ(steps.size(), 3u);
  EXPECT_EQ(steps[1].tokens_per_second, 200);
  EXPECT_EQ(steps[2].tokens_per_second, 400) << "the repeated step replaces the old one";
  EXPECT_EQ(read_evaluation_lines(dir.path()).size(), 2u);
}

}  // namespace
}  // namespace graft::pipelines
