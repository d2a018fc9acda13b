#include "pipelines/resume.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <sstream>
#include <thread>

#include "kernels/base/error.h"
#include "peft_core/base/files.h"
#include "peft_core/formats/safetensors.h"
#include "tests/pipelines/toy_task.h"
#include "tests/support/temp_dir.h"

// This program is also its own child: `resume_test --child RUN key=value...` trains the toy and may die on the way. A
// fork alone would not do, as LibTorch's thread pool does not survive it.

namespace graft::pipelines {
namespace {

namespace fs = std::filesystem;
using graft::testing::ExactLog;
using graft::testing::TempDir;
using graft::testing::toy_options;
using graft::testing::ToyTask;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kWidth = 40000;  // a state of some 2.4 MB, so that writing it takes a while
constexpr int64_t kSteps = 12;

void limit_file_size(rlim_t bytes) {
  rlimit limit{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  limit.rlim_cur = std::min(bytes, limit.rlim_max);
  ::setrlimit(RLIMIT_FSIZE, &limit);
}

int64_t argument(int argc, char** argv, const std::string& key) {
  for (int i = 3; i < argc; ++i) {
    if (std::string(argv[i]).starts_with(key + "=")) return std::atoll(argv[i] + key.size() + 1);
  }
  return -1;
}

/// Trains with --resume. kill_step/kill_micro: SIGKILL there. cut_step: from there on a file longer than 1 MB kills the
/// process in the middle of the write (SIGXFSZ).
int child(int argc, char** argv) {
  const fs::path run = argv[2];
  ToyTask task(kWidth);
  ExactLog log(run / "log.txt");
  auto options = toy_options(run, kSteps);
  options.resume = true;
  if (const auto every = argument(argc, argv, "save_every"); every > 0) options.save_every = every;
  if (argument(argc, argv, "sgd") > 0) options.optimizer = OptimizerKind::kSgd;
  task.before_micro = [&](int64_t step, int64_t micro) {
    if (step == argument(argc, argv, "kill_step") && micro == argument(argc, argv, "kill_micro")) ::raise(SIGKILL);
    if (step == argument(argc, argv, "cut_step")) limit_file_size(1'000'000);
  };
  train(task, options, {&log});
  return 0;
}

pid_t start_child(const fs::path& run, const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {"resume_test", "--child", run.string()};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (auto& text : all) argv.push_back(text.data());
  argv.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const int quiet = ::open("/dev/null", O_WRONLY);
    ::dup2(quiet, STDERR_FILENO);
    ::execv("/proc/self/exe", argv.data());
    ::_exit(127);
  }
  return pid;
}

int wait_for(pid_t pid) {
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return status;
}

int run_child(const fs::path& run, const std::vector<std::string>& arguments = {}) {
  return wait_for(start_child(run, arguments));
}

bool died_of(int status, int number) { return WIFSIGNALED(status) && WTERMSIG(status) == number; }

std::vector<std::string> lines_of(const fs::path& file) {
  std::istringstream in(read_file(file));
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

const std::vector<std::string>& expected_lines() {
  static const auto lines = graft::testing::undisturbed_lines(kWidth, kSteps);
  return lines;
}

int count_files(const fs::path& folder) {
  return static_cast<int>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(Resume, AfterAKillAtAnyPointEqualsAnUndisturbedRun) {
  struct Point {
    int64_t step, micro;
  };
  // Before the first checkpoint, right after one, in the middle of accumulation, in the last step.
  for (const auto& [step, micro] : {Point{0, 1}, Point{2, 1}, Point{3, 0}, Point{7, 1}, Point{11, 0}}) {
    const TempDir run;
    const int status =
        run_child(run.path(), {"kill_step=" + std::to_string(step), "kill_micro=" + std::to_string(micro)});
    ASSERT_TRUE(died_of(status, SIGKILL)) << status;
    EXPECT_EQ(fs::exists(checkpoint_file(run.path())), step >= 3);
    ASSERT_EQ(run_child(run.path()), 0);
    EXPECT_EQ(lines_of(run / "log.txt"), expected_lines()) << "killed in step " << step;
  }
}

TEST(Resume, SgdAfterAKillEqualsAnUndisturbedRun) {
  ToyTask task(kWidth);
  ExactLog undisturbed;
  auto options = toy_options({}, kSteps);
  options.optimizer = OptimizerKind::kSgd;
  train(task, options, {&undisturbed});
  EXPECT_NE(undisturbed.lines, expected_lines());
  const TempDir run;
  ASSERT_TRUE(died_of(run_child(run.path(), {"sgd=1", "kill_step=7", "kill_micro=1"}), SIGKILL));
  const auto state = formats::SafetensorsFile::open(checkpoint_file(run.path()));
  EXPECT_TRUE(state.tensors().contains("first_moment/layer.first"));
  EXPECT_FALSE(state.tensors().contains("second_moment/layer.first"));
  ASSERT_EQ(run_child(run.path(), {"sgd=1"}), 0);
  EXPECT_EQ(lines_of(run / "log.txt"), undisturbed.lines);
}

TEST(Resume, AfterDeathInTheMiddleOfWritingTheStateKeepsTheOldOne) {
  const TempDir run;
  ASSERT_TRUE(died_of(run_child(run.path(), {"cut_step=5"}), SIGXFSZ));
  const auto folder = checkpoint_file(run.path()).parent_path();
  EXPECT_EQ(count_files(folder), 2) << "the old state and the torso of the next one";
  ASSERT_TRUE(died_of(run_child(run.path(), {"kill_step=4", "kill_micro=0"}), SIGKILL));
  EXPECT_EQ(count_files(folder), 1) << "the torso is gone";
  ASSERT_EQ(run_child(run.path()), 0);
  EXPECT_EQ(lines_of(run / "log.txt"), expected_lines());
}

TEST(Resume, SurvivesKillsAtRandomMoments) {
  const TempDir run;
  std::mt19937 random(20251125);
  const auto saves = checkpoint_file(run.path());
  int kills = 0;
  for (int round = 0; round < 10; ++round) {
    const pid_t pid = start_child(run.path(), {"save_every=1"});
    // Loading LibTorch takes most of the time; the clock starts when this child has something to lose.
    const auto begin = std::chrono::steady_clock::now();
    const auto before = fs::exists(run / "log.txt") ? fs::file_size(run / "log.txt") : 0;
    siginfo_t
        ended{};  // WNOWAIT: the child stays a zombie, so its number cannot become another process's before the kill
    while (std::chrono::steady_clock::now() - begin < std::chrono::seconds(20)) {
      if (fs::exists(run / "log.txt") && fs::file_size(run / "log.txt") != before) break;
      if (::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid == pid)
        break;
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20000));
    ::kill(pid, SIGKILL);
    if (died_of(wait_for(pid), SIGKILL)) ++kills;
    if (fs::exists(saves)) {
      EXPECT_NO_THROW(formats::SafetensorsFile::open(saves));
    }
  }
  ASSERT_EQ(run_child(run.path()), 0);
  EXPECT_EQ(lines_of(run / "log.txt"), expected_lines());
  EXPECT_GE(kills, 3) << "too few kills for a test";
}

/// Makes every write beyond `bytes` of a file fail with "File too large", as a full disk fails with its own error.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : handler_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    limit_file_size(bytes);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit before_{};
  sighandler_t handler_;
};

TEST(Resume, AFullDiskOnTheWayIsAWarningAndLosesNothing) {
  const TempDir run;
  ToyTask task(kWidth);
  ExactLog log;
  std::unique_ptr<FullDisk> full;
  task.before_micro = [&](int64_t step, int64_t micro) {
    if (micro == 0 && step == 5) full = std::make_unique<FullDisk>(100'000);  // the save after step 6 fails
    if (micro == 0 && step == 7) {
      full.reset();
      EXPECT_EQ(count_files(checkpoint_file(run.path()).parent_path()), 1);
    }
  };
  EXPECT_EQ(train(task, toy_options(run.path(), kSteps), {&log}).steps, kSteps);
  EXPECT_EQ(log.lines, expected_lines());
}

TEST(Resume, AFullDiskAtTheEndIsAnErrorAfterTheAdapterIsSaved) {
  const TempDir run;
  ToyTask task(kWidth);
  std::unique_ptr<FullDisk> full;
  task.before_micro = [&](int64_t step, int64_t micro) {
    if (step == 10 && micro == 0) full = std::make_unique<FullDisk>(100'000);
  };
  EXPECT_THROW(train(task, toy_options(run.path(), kSteps)), IoError);
  full.reset();
  EXPECT_EQ(task.saves_, 1);
  ToyTask again(kWidth);
  ExactLog log;
  auto options = toy_options(run.path(), kSteps);
  options.resume = true;
  EXPECT_EQ(train(again, options, {&log}).first_step, 10) << "the state of step 9 was still whole";
  EXPECT_EQ(log.lines.back(), expected_lines().back());
}

std::string refusal(const fs::path& run, const TrainOptions& options) {
  ToyTask task;
  const auto before = task.first_.detach().clone();
  try {
    train(task, options);
  } catch (const InvalidArgument& error) {
    EXPECT_TRUE(at::equal(before, task.first_)) << "a refused state was loaded";
    EXPECT_TRUE(fs::exists(checkpoint_file(run)));
    return error.what();
  }
  ADD_FAILURE() << "the state of another run was accepted";
  return "";
}

TEST(Resume, NamesWhatDiffersFromTheSavedRun) {
  const TempDir run;
  ToyTask task;
  train(task, toy_options(run.path(), 4));
  auto options = toy_options(run.path(), 8);
  options.resume = true;
  options.fingerprint = "data=xyz\nseed=1";
  EXPECT_THAT(refusal(run.path(), options),
              AllOf(HasSubstr("data abc"), HasSubstr("data xyz"), Not(HasSubstr("seed"))));
  options = toy_options(run.path(), 8);
  options.resume = true;
  options.learning_rate = 0.5;
  EXPECT_THAT(refusal(run.path(), options), AllOf(HasSubstr("learning_rate 0.02"), HasSubstr("learning_rate 0.5")));
  options = toy_options(run.path(), 8);
  options.resume = true;
  options.optimizer = OptimizerKind::kSgd;
  EXPECT_THAT(refusal(run.path(), options), AllOf(HasSubstr("optimizer (absent)"), HasSubstr("optimizer sgd")));
}

TEST(Resume, RefusesTensorsOfAnotherShape) {
  const TempDir run;
  ToyTask wide(32);
  train(wide, toy_options(run.path(), 4));
  auto options = toy_options(run.path(), 8);
  options.resume = true;
  EXPECT_THAT(refusal(run.path(), options), HasSubstr("layer.first"));
}

TEST(Resume, WithoutASavedStateStartsFromTheBeginning) {
  const TempDir run;
  ToyTask task;
  ExactLog log;
  auto options = toy_options(run.path());
  options.resume = true;
  EXPECT_EQ(train(task, options, {&log}).first_step, 1);
  EXPECT_EQ(log.lines, graft::testing::undisturbed_lines(16, 12));
}

TEST(Resume, AFinishedRunIsLeftAsItIsAndCanBeMadeLonger) {
  const TempDir run;
  ToyTask task;
  auto options = toy_options(run.path(), 6);
  options.schedule = Schedule::kConstant;
  train(task, options);
  options.resume = true;
  ToyTask again;
  const auto report = train(again, options);
  EXPECT_EQ(report.steps, 6);
  EXPECT_EQ(report.first_step, 7);
  EXPECT_TRUE(at::equal(task.second_, again.second_));

  options.total_steps = 12;
  ToyTask longer, whole;
  ExactLog tail, all;
  train(longer, options, {&tail});
  options.run_dir.clear();
  options.resume = false;
  train(whole, options, {&all});
  ASSERT_EQ(tail.lines.size(), 6u);
  EXPECT_EQ(tail.lines.back(), all.lines.back());
}

TEST(Resume, ADamagedStateIsAnErrorOfTheFile) {
  const TempDir run;
  ToyTask task;
  train(task, toy_options(run.path(), 4));
  fs::resize_file(checkpoint_file(run.path()), fs::file_size(checkpoint_file(run.path())) - 5);
  auto options = toy_options(run.path(), 8);
  options.resume = true;
  EXPECT_THROW(train(task, options), IoError);
  write_file_atomically(checkpoint_file(run.path()), "not a state");
  EXPECT_THROW(train(task, options), IoError);
}

TEST(Resume, ARunThatStartsAnewMovesTheOldStateAside) {
  const TempDir run;
  ToyTask task, other;
  train(task, toy_options(run.path(), 4));
  const auto old = read_file(checkpoint_file(run.path()));
  train(other, toy_options(run.path(), 2));
  EXPECT_EQ(read_file(run / "checkpoint/state.previous.safetensors"), old);
}

TEST(Resume, AFolderThatCannotBeMadeIsAnErrorOfTheFile) {
  const TempDir run;
  graft::testing::write_text(run / "file", "");
  ToyTask task;
  EXPECT_THROW(train(task, toy_options(run / "file")), IoError);
}

}  // namespace
}  // namespace graft::pipelines

int main(int argc, char** argv) {
  if (argc > 2 && std::strcmp(argv[1], "--child") == 0) return graft::pipelines::child(argc, argv);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
