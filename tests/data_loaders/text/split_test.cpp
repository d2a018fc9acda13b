#include "data_loaders/text/split.h"

#include <gmock/gmock.h>

#include <set>

#include "kernels/base/error.h"

namespace graft::data {
namespace {

using ::testing::SizeIs;

std::vector<Record> rows_of_sources(int sources, int rows_each) {
  std::vector<Record> records;
  for (int row = 0; row < rows_each; ++row) {
    for (int source = 0; source < sources; ++source) {
      records.push_back({.id = std::to_string(records.size()), .source = "document " + std::to_string(source)});
    }
  }
  return records;
}

std::set<std::string> sources_of(const std::vector<Record>& records, const std::vector<int64_t>& indices) {
  std::set<std::string> sources;
  for (const auto& record : take(records, indices)) sources.insert(record.source);
  return sources;
}

TEST(SplitTest, NoDocumentIsOnBothSidesAndTheShareIsKept) {
  const auto records = rows_of_sources(40, 5);
  const auto split = split_by_source(records, 0.2, 1);
  EXPECT_THAT(split.held_out, SizeIs(40));
  EXPECT_THAT(split.train, SizeIs(160));
  EXPECT_EQ(split.held_out_sources, 8);
  EXPECT_EQ(split.train_sources, 32);
  const auto held_out = sources_of(records, split.held_out);
  for (const auto& source : sources_of(records, split.train)) EXPECT_FALSE(held_out.contains(source)) << source;
}

TEST(SplitTest, TheSeedDecides) {
  const auto records = rows_of_sources(40, 5);
  EXPECT_EQ(split_by_source(records, 0.2, 1).held_out, split_by_source(records, 0.2, 1).held_out);
  EXPECT_NE(split_by_source(records, 0.2, 1).held_out, split_by_source(records, 0.2, 2).held_out);
}

TEST(SplitTest, RowsWithoutASourceStandForThemselves) {
  std::vector<Record> records(50);
  for (size_t i = 0; i < records.size(); ++i) records[i].row = static_cast<int64_t>(i) + 1;
  const auto split = split_by_source(records, 0.1, 1);
  EXPECT_THAT(split.held_out, SizeIs(5));
  EXPECT_EQ(split.train_sources, 45);
}

TEST(SplitTest, ALargeDocumentStaysInTraining) {
  auto records = rows_of_sources(1, 90);
  for (int i = 0; i < 10; ++i) records.push_back({.source = "small"});
  const auto split = split_by_source(records, 0.1, 3);
  EXPECT_THAT(split.held_out, SizeIs(10));
  EXPECT_EQ(sources_of(records, split.held_out), std::set<std::string>{"small"});
}

TEST(SplitTest, WhatCannotBeSplitIsSaid) {
  EXPECT_THROW(split_by_source(rows_of_sources(1, 10), 0.2, 1), InvalidArgument);
  EXPECT_THROW(split_by_source(rows_of_sources(4, 10), 1.0, 1), InvalidArgument);
  EXPECT_THROW(split_by_source(rows_of_sources(4, 10), -0.1, 1), InvalidArgument);
  EXPECT_THAT(split_by_source(rows_of_sources(1, 10), 0, 1).train, SizeIs(10));
}

}  // namespace
}  // namespace graft::data
