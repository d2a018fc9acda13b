#include "data_loaders/text/token_cache.h"

#include <gmock/gmock.h>

#include <cstdlib>

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

TEST_F(TokenCacheTest, TheEnvironmentNamesTheFolder) {
  const char* before = std::getenv("GRAFT_CACHE");
  const std::string kept = before != nullptr ? before : "";
  setenv("GRAFT_CACHE", dir_.path().c_str(), 1);
  TokenCache::standard().keep(key_, set_, "");
  before != nullptr ? setenv("GRAFT_CACHE", kept.c_str(), 1) : unsetenv("GRAFT_CACHE");
  EXPECT_TRUE(std::filesystem::exists(file()));
}

}  // namespace
}  // namespace graft::data
