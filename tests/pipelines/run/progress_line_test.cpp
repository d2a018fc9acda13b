#include "pipelines/progress_line.h"

#include <gmock/gmock.h>

namespace graft::pipelines {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const Progress kHalfWay = {.step = 200, .total_steps = 400, .loss = 1.8342, .tokens_per_second = 1204, .seconds_left = 151,
                           .memory_bytes = int64_t{1400} << 20};

/// Columns on the screen: continuation bytes of UTF-8 take none.
size_t columns_of(const std::string& text) {
  size_t columns = 0;
  for (const unsigned char c : text) columns += (c & 0xc0) != 0x80;
  return columns;
}

TEST(ProgressLine, LooksLikeThisAtEightyColumns) {
  EXPECT_EQ(progress_bar_line(kHalfWay, {}),
            "━━━━━━━━━━━───────────  200/400  loss 1.8342   1,204 tok/s   2:31 left  1.4 GiB");
  EXPECT_EQ(columns_of(progress_bar_line(kHalfWay, {})), 79u) << "the last column stays free";
}

TEST(ProgressLine, NeverWrapsAndKeepsTheMostImportant) {
  for (int columns = 1; columns < 200; ++columns) {
    EXPECT_LT(columns_of(progress_bar_line(kHalfWay, {.columns = columns})), static_cast<size_t>(std::max(columns, 2))) << columns;
  }
  EXPECT_THAT(progress_bar_line(kHalfWay, {.columns = 40}), AllOf(HasSubstr("200/400"), HasSubstr("1.8342"), Not(HasSubstr("GiB"))));
}

TEST(ProgressLine, FillsFromLeftToRight) {
  auto progress = kHalfWay;
  const LineStyle ascii = {.columns = 20, .unicode = false};
  progress.step = 0;
  EXPECT_THAT(progress_bar_line(progress, ascii), testing::StartsWith("--------"));
  progress.step = 400;
  EXPECT_THAT(progress_bar_line(progress, ascii), testing::StartsWith("########"));
  progress.total_steps = 0;
  EXPECT_THAT(progress_bar_line(progress, ascii), HasSubstr("---"));
}

TEST(ProgressLine, LogFilesGetTheFiguresWithoutABar) {
  EXPECT_EQ(progress_text_line(kHalfWay), "step 200/400  loss 1.8342  1,204 tok/s  2:31 left  1.4 GiB");
}

TEST(ProgressLine, FormatsForPeople) {
  EXPECT_EQ(format_duration(0), "0 s");
  EXPECT_EQ(format_duration(59.4), "59 s");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(7509), "2:05:09");
  EXPECT_EQ(format_duration(-1), "0 s");
  EXPECT_EQ(format_duration(1.0 / 0.0), "0 s");
  EXPECT_EQ(format_bytes(2048), "2 KiB");
  EXPECT_EQ(format_bytes(int64_t{830} << 20), "830 MiB");
  EXPECT_EQ(format_bytes(int64_t{1536} << 20), "1.5 GiB");
  EXPECT_EQ(format_count(12), "12");
  EXPECT_EQ(format_count(123456), "123,456");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_steps(1), "1 step");
  EXPECT_EQ(format_steps(1200), "1,200 steps");
  EXPECT_EQ(format_count(-123), "-123");
}

}  // namespace
}  // namespace graft::pipelines
