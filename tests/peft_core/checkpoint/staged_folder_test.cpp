#include "peft_core/checkpoint/staged_folder.h"

#include <gmock/gmock.h>

#include "kernels/base/error.h"
#include "tests/support/temp_dir.h"

namespace graft::peft {
namespace {

using testing::read_text;
using testing::TempDir;
using testing::write_text;
namespace fs = std::filesystem;

bool is_empty(const TempDir& folder) { return fs::is_empty(folder.path()); }

TEST(StagedFolder, StandsUnderItsNameOnlyWhenCommitted) {
  const TempDir here;
  StagedFolder folder(here / "out");
  write_text(folder.path() / "a", "1");
  EXPECT_FALSE(fs::exists(here / "out"));
  folder.commit();
  EXPECT_EQ(read_text(here / "out" / "a"), "1");
  EXPECT_EQ(std::distance(fs::directory_iterator(here.path()), fs::directory_iterator()), 1);
}

TEST(StagedFolder, LeavesNothingWhenItIsNotCommitted) {
  const TempDir here;
  {
    StagedFolder folder(here / "out");
    write_text(folder.path() / "a", "1");
  }
  EXPECT_TRUE(is_empty(here));
}

TEST(StagedFolder, TakesThePlaceOfAnEmptyFolderAndMakesThoseAbove) {
  const TempDir here;
  fs::create_directories(here / "empty");
  StagedFolder first((here / "empty").string() + "/"), second(here / "x" / "y");
  first.commit(), second.commit();
  EXPECT_TRUE(fs::is_directory(here / "empty") && fs::is_directory(here / "x" / "y"));
}

TEST(StagedFolder, RefusesWhatHoldsSomething) {
  const TempDir here;
  fs::create_directories(here / "full");
  write_text(here / "full" / "precious", "x");
  EXPECT_THROW(StagedFolder(here / "full"), InvalidArgument);
  EXPECT_THROW(StagedFolder(here / "full" / "precious"), InvalidArgument);
  EXPECT_EQ(read_text(here / "full" / "precious"), "x");
}

TEST(StagedFolder, ClearsAwayWhatAKilledProcessLeft) {
  const TempDir here;
  fs::create_directories(here / ".out.partial-2147483646");  // above any process number that Linux gives
  fs::create_directories(here / ".out.partial-1");           // always runs
  fs::create_directories(here / ".out.partial-mine");
  fs::create_directories(here / ".other.partial-2147483646");
  StagedFolder folder(here / "out");
  EXPECT_FALSE(fs::exists(here / ".out.partial-2147483646"));
  EXPECT_TRUE(fs::exists(here / ".out.partial-1") && fs::exists(here / ".out.partial-mine"));
  EXPECT_TRUE(fs::exists(here / ".other.partial-2147483646"));
}

TEST(StagedFolder, ReplacesNothingThatCameMeanwhile) {
  const TempDir here;
  StagedFolder folder(here / "out");
  fs::create_directories(here / "out");
  write_text(here / "out" / "precious", "x");
  EXPECT_THROW(folder.commit(), IoError);
  EXPECT_EQ(read_text(here / "out" / "precious"), "x");
}

}  // namespace
}  // namespace graft::peft
