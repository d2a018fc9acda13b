#include "peft_core/base/log.h"

#include <gtest/gtest.h>

#include <sstream>

namespace graft {
namespace {

class LogTest : public ::testing::Test {
 protected:
  std::ostringstream out_;
  LogToStream redirect_{out_};
  void TearDown() override { set_log_level(LogLevel::kInfo); }
};

TEST_F(LogTest, WritesOneLineAMessage) {
  log_info("read 3 files");
  log_warning("one is empty");
  EXPECT_EQ(out_.str(), "read 3 files\nwarning: one is empty\n");
}

TEST_F(LogTest, LevelsAreRespected) {
  set_log_level(LogLevel::kWarnings);
  log_info("hidden");
  log_warning("shown");
  set_log_level(LogLevel::kQuiet);
  log_warning("hidden too");
  EXPECT_EQ(out_.str(), "warning: shown\n");
}

TEST_F(LogTest, LinesGoAboveTheStatusLine) {
  set_status_line("[##--] 2/4");
  log_info("saved");
  set_status_line("");
  EXPECT_EQ(out_.str(), "\r\x1b[K[##--] 2/4\r\x1b[Ksaved\n[##--] 2/4\r\x1b[K");
}

TEST_F(LogTest, NestedRedirectionsEndInOrder) {
  std::ostringstream inner;
  {
    LogToStream redirect(inner);
    log_info("inside");
  }
  log_info("outside");
  EXPECT_EQ(inner.str(), "inside\n");
  EXPECT_EQ(out_.str(), "outside\n");
}

}  // namespace
}  // namespace graft
