#include "data_loaders/text/token_cache.h"

#include <gmock/gmock.h>

#include <atomic>
#include <cstdlib>
#include <optional>
#include <thread>

#include "peft_core/base/log.h"
#include "tests/support/temp_dir.h"

namespace graft::data {
namespace {

using ::testing::ElementsAre;

class TokenCacheTest : public ::testing::Test {
 protected:
  void SetUp() override { set_log_level(LogLevel::kQuiet); }
  void TearDown() override { set_log_level(LogLevel::kInfo); }
  std::filesystem::path file() const { return dir_.path() / (key_ + ".tokens"); }

  graft::testing::TempDir dir_;
  TokenCache cache_{dir_.path()};
  std::string key_ = token_cache_key({"data", "tokenizer", "chatml"});
  TokenSet set_{std::vector<TokenSample>{{{1, 2, 3}, {0, 0, 1}}, {{4, 5}, {0, 1}}}};
};

TEST_F(TokenCacheTest, GivesBackWhatWasKept) {
  EXPECT_FALSE(cache_.find(key_));
  cache_.keep(key_, set_, "{\"truncated\": 3}");
  const auto found = cache_.find(key_);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->samples.size(), 2);
  EXPECT_THAT(found->samples[0].ids, ElementsAre(1, 2, 3));
  EXPECT_THAT(found->samples[0].learn, ElementsAre(0, 0, 1));
  EXPECT_THAT(found->samples[1].ids, ElementsAre(4, 5));
  EXPECT_EQ(found->note, "{\"truncated\": 3}");
}

TEST_F(TokenCacheTest, MakesOnceAndThenReads) {
  int made = 0;
  const auto make = [&] {
    ++made;
    return CachedTokens{set_, "note"};
  };
  EXPECT_EQ(cache_.get(key_, make).samples.size(), 2);
  EXPECT_EQ(cache_.get(key_, make).note, "note");
  EXPECT_EQ(made, 1);
}

TEST_F(TokenCacheTest, AnyDamagedByteIsNoticedAndRepaired) {
  cache_.keep(key_, set_, "note");
  const std::string good = graft::testing::read_text(file());
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x20);
    graft::testing::write_text(file(), bad);
    EXPECT_FALSE(cache_.find(key_)) << "byte " << at;
  }
  for (const size_t size : {size_t{0}, size_t{100}, good.size() - 1}) {
    graft::testing::write_text(file(), good.substr(0, size));
    EXPECT_FALSE(cache_.find(key_)) << "size " << size;
  }
  graft::testing::write_text(file(), good + "x");
  EXPECT_FALSE(cache_.find(key_));
  EXPECT_EQ(cache_.get(key_, [&] { return CachedTokens{set_, "again"}; }).note, "again");
  EXPECT_EQ(cache_.find(key_)->note, "again");
}

TEST_F(TokenCacheTest, TheKeyDependsOnEveryPartAndItsBorders) {
  EXPECT_EQ(key_.size(), 64u);
  EXPECT_NE(token_cache_key({"data", "tokenizer", "plain"}), key_);
  EXPECT_NE(token_cache_key({"ab", "c"}), token_cache_key({"a", "bc"}));
}

TEST_F(TokenCacheTest, AFolderThatCannotBeWrittenCostsNothing) {
  graft::testing::write_text(dir_ / "file", "");
  const TokenCache blocked(dir_ / "file" / "sub");
  EXPECT_EQ(blocked.get(key_, [&] { return CachedTokens{set_, ""}; }).samples.size(), 2);
  EXPECT_FALSE(blocked.find(key_));
  const TokenCache nowhere;
  nowhere.keep(key_, set_, "");
  EXPECT_FALSE(nowhere.find(key_));
}

TEST_F(TokenCacheTest, SeveralRunsMayKeepAndReadTheSameAtOnce) {
  std::atomic<int> wrong = 0;
  std::vector<std::thread> runs;
  for (int run = 0; run < 4; ++run) {
    runs.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        cache_.keep(key_, set_, "note");
        const auto found = cache_.find(key_);
        wrong += !found || found->note != "note" || found->samples.token_count() != 5;
      }
    });
  }
  for (auto& run : runs) run.join();
  EXPECT_EQ(wrong, 0);
  const auto entries = std::filesystem::directory_iterator(dir_.path());
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 1) << "temporary files are left";
}

/// Sets a variable, or takes it away for nullptr, until it goes.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    value != nullptr ? setenv(name, value, 1) : unsetenv(name);
  }
  ~Variable() { before_ ? setenv(name_, before_->c_str(), 1) : unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

TEST_F(TokenCacheTest, TheEnvironmentNamesTheFolder) {
  const auto home = (dir_ / "home").string(), shared = (dir_ / "xdg").string(), own = (dir_ / "own").string();
  const Variable without_own("GRAFT_CACHE", nullptr), without_shared("XDG_CACHE_HOME", nullptr), at_home("HOME", home.c_str());
  const auto kept_in = [&](const std::filesystem::path& folder) {
    TokenCache::standard().keep(key_, set_, "");
    return std::filesystem::exists(folder / (key_ + ".tokens"));
  };
  EXPECT_TRUE(kept_in(dir_ / "home" / ".cache" / "graft"));
  const Variable with_shared("XDG_CACHE_HOME", shared.c_str());
  EXPECT_TRUE(kept_in(dir_ / "xdg" / "graft"));
  const Variable with_own("GRAFT_CACHE", own.c_str());
  EXPECT_TRUE(kept_in(dir_ / "own"));
  const Variable no_home("HOME", nullptr), no_shared("XDG_CACHE_HOME", "relative"), no_own("GRAFT_CACHE", "");
  EXPECT_FALSE(TokenCache::standard().is_somewhere());
}

}  // namespace
}  // namespace graft::data
