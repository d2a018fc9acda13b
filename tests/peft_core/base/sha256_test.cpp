#include "peft_core/base/sha256.h"

#include <gtest/gtest.h>

#include "kernels/base/error.h"
#include "tests/support/temp_dir.h"

namespace graft {
namespace {

// FIPS 180-4 examples.
constexpr auto kEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr auto kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr auto kMillionA = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Sha256, MatchesThePublishedExamples) {
  EXPECT_EQ(sha256_hex(""), kEmpty);
  EXPECT_EQ(sha256_hex("abc"), kAbc);
  EXPECT_EQ(sha256_hex(std::string(1'000'000, 'a')), kMillionA);
}

TEST(Sha256, PiecesGiveTheSameAsTheWhole) {
  Sha256 hash;
  hash.add("a");
  hash.add("");
  hash.add("bc");
  EXPECT_EQ(hash.hex(), kAbc);
}

TEST(Sha256, HashesFilesInPieces) {
  testing::TempDir dir;
  testing::write_text(dir / "empty", "");
  testing::write_text(dir / "large", std::string(1'000'000, 'a') + std::string(2'000'000, 'b'));
  EXPECT_EQ(sha256_of_file(dir / "empty"), kEmpty);
  EXPECT_EQ(sha256_of_file(dir / "large"), sha256_hex(std::string(1'000'000, 'a') + std::string(2'000'000, 'b')));
  EXPECT_THROW(sha256_of_file(dir / "absent"), IoError);
  EXPECT_THROW(sha256_of_file(dir.path()), IoError) << "a folder is no file";
}

}  // namespace
}  // namespace graft
