#include "data_loaders/text/packing.h"

#include <gmock/gmock.h>

#include <numeric>

#include "kernels/base/error.h"
#include "peft_core/base/rng.h"

namespace graft::data {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

/// Ids first, first + 1, ...; the last `learnt` of them are to be learnt.
TokenSample sample(TokenId first, size_t length, size_t learnt) {
  TokenSample made{std::vector<TokenId>(length), std::vector<uint8_t>(length, 0)};
  std::iota(made.ids.begin(), made.ids.end(), first);
  std::fill(made.learn.end() - static_cast<std::ptrdiff_t>(learnt), made.learn.end(), uint8_t{1});
  return made;
}

std::vector<TokenSample> samples_of_lengths(const std::vector<size_t>& lengths) {
  std::vector<TokenSample> samples;
  for (const size_t length : lengths) samples.push_back(sample(static_cast<TokenId>(100 * samples.size()), length, 1));
  return samples;
}

TEST(BatchTest, SequencesStandEndToEndAndNothingIsLearntAcrossTheirBorder) {
  const TokenSet set({sample(10, 3, 2), sample(20, 2, 2)});
  const auto both = batch(set, std::vector<int64_t>{0, 1});
  EXPECT_THAT(both.ids, ElementsAre(10, 11, 12, 20, 21));
  EXPECT_THAT(both.targets,
              ElementsAre(11, 12, -1, 21, -1));  // learn[0] of the second is ignored: nothing stands before it
  EXPECT_THAT(both.positions, ElementsAre(0, 1, 2, 0, 1));
  EXPECT_THAT(both.lengths, ElementsAre(3, 2));
  EXPECT_EQ(both.target_count(), 3);
}

TEST(BatchTest, OnlyAnswersAreTargets) {
  const TokenSet set({sample(10, 4, 1)});
  EXPECT_THAT(batch(set, std::vector<int64_t>{0}).targets, ElementsAre(-1, -1, 13, -1));
}

TEST(FitTest, LongSamplesAreCutAndThoseWithoutAnAnswerLeftAreDropped) {
  FitReport report;
  const auto kept = fit_to_length({sample(0, 4, 2), sample(0, 10, 8), sample(0, 10, 2), sample(0, 1, 1)}, 6,
                                  LongSample::kTruncate, &report);
  ASSERT_THAT(kept, SizeIs(2));
  EXPECT_THAT(kept[1].ids, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(report.samples, 4);
  EXPECT_EQ(report.truncated, 2);
  EXPECT_EQ(report.dropped, 2);
  EXPECT_EQ(report.lost_tokens, 4 + 4 + 6 + 1);
  EXPECT_THROW(fit_to_length({}, 1, LongSample::kTruncate), InvalidArgument);
}

TEST(FitTest, DocumentsBecomePiecesThatKeepEveryToken) {
  FitReport report;
  const auto kept = fit_to_length({sample(0, 13, 13)}, 5, LongSample::kSplit, &report);
  ASSERT_THAT(kept, SizeIs(3));
  EXPECT_THAT(kept[2].ids, ElementsAre(10, 11, 12));
  EXPECT_EQ(report.split, 1);
  EXPECT_EQ(report.pieces, 3);
  EXPECT_EQ(report.lost_tokens, 0);
  FitReport one_left;
  EXPECT_THAT(fit_to_length({sample(0, 11, 11)}, 5, LongSample::kSplit, &one_left),
              SizeIs(2));  // a single token teaches nothing
  EXPECT_EQ(one_left.lost_tokens, 1);
}

TEST(PackTest, WholeSamplesGoWhereTheyFitBest) {
  const TokenSet set(samples_of_lengths({6, 5, 4, 5, 3, 10, 2}));
  EXPECT_THAT(pack_rows(set, 10), ElementsAre(ElementsAre(0, 2), ElementsAre(1, 3), ElementsAre(4, 6), ElementsAre(5)));
  EXPECT_THROW(pack_rows(TokenSet(samples_of_lengths({11})), 10), InvalidArgument);
  EXPECT_THAT(pack_rows(TokenSet(), 10), SizeIs(0));
}

TEST(PackTest, EachSampleIsPackedOnceAndNoRowOverflows) {
  RandomStream random(1, "pack test");
  std::vector<size_t> lengths;
  for (int i = 0; i < 3000; ++i) lengths.push_back(2 + random.below(120));
  const TokenSet set(samples_of_lengths(lengths));
  const auto rows = pack_rows(set, 512);
  std::vector<int64_t> seen;
  for (const auto& row : rows) {
    int64_t used = 0;
    for (const int64_t index : row) used += set.length(index);
    EXPECT_LE(used, 512);
    seen.insert(seen.end(), row.begin(), row.end());
  }
  std::sort(seen.begin(), seen.end());
  std::vector<int64_t> all(3000);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(seen, all);
  EXPECT_GT(fill_ratio(set, rows, 512), 0.97);  // short samples leave little room unused
}

TEST(PackTest, BatchesHoldTheGivenNumberOfRows) {
  const TokenSet set(samples_of_lengths({6, 5, 4, 5, 3, 10, 2}));
  const auto batches = pack(set, 10, 3);
  ASSERT_THAT(batches, SizeIs(2));
  EXPECT_THAT(batches[0].lengths, ElementsAre(6, 4, 5, 5, 3, 2));
  EXPECT_THAT(batches[1].lengths, ElementsAre(10));
  EXPECT_EQ(batches[0].ids.size(), 25u);  // no padding
  EXPECT_THROW(pack(set, 10, 0), InvalidArgument);
}

TEST(TokenSetTest, KeepsSamplesApart) {
  const TokenSet set({sample(1, 2, 1), sample(5, 3, 3)});
  EXPECT_EQ(set.size(), 2);
  EXPECT_EQ(set.token_count(), 5);
  EXPECT_THAT(set[1].ids, ElementsAre(5, 6, 7));
  EXPECT_THAT(set[0].learn, ElementsAre(0, 1));
  EXPECT_EQ(TokenSet().size(), 0);
}

}  // namespace
}  // namespace graft::data
