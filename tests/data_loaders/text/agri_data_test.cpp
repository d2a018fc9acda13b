#include <gmock/gmock.h>

#include "data_loaders/text/duplicates.h"
#include "data_loaders/text/records.h"
#include "data_loaders/text/split.h"
#include "tests/support/shared_data.h"

namespace graft::data {
namespace {

std::vector<Record> agri(const std::string& name) {
  const auto set = read_records({(graft::testing::shared_dir() / "data/agri" / name).string()}, {.bad_row_limit = 0});
  return set.records;
}

class AgriDataTest : public ::testing::Test {
 protected:
  void SetUp() override { GRAFT_SKIP_UNLESS_EXISTS(graft::testing::shared_dir() / "data/agri"); }
};

TEST_F(AgriDataTest, EveryRowOfTheRealFilesIsGood) {
  EXPECT_EQ(agri("icar-qna/irrigation.jsonl").size(), 2698u);
  EXPECT_EQ(agri("icar-qna/plant_disease.jsonl").size(), 1380u);
  EXPECT_EQ(agri("icar-qna/soil.jsonl").size(), 2417u);
  EXPECT_EQ(agri("agxqa/agxqa.jsonl").size(), 397u);
  EXPECT_EQ(agri("agrieval/choice_rag.jsonl").size(), 752u);
  EXPECT_EQ(agri("agrieval/question_main.jsonl").size(), 1517u);
  EXPECT_EQ(agri("seedbench/mcq_base.jsonl").size(), 149u);
}

TEST_F(AgriDataTest, SeedBenchOptionsAreFoundInTheQuestion) {
  for (const auto* name : {"1-1", "1-2", "3-1", "3-2"}) {
    for (const auto& record : agri("seedbench/zero-shot/" + std::string(name) + ".jsonl")) {
      EXPECT_GE(record.choices.size(), 2u) << place_of(record);
      EXPECT_FALSE(record.gold.empty()) << place_of(record);
    }
  }
}

TEST_F(AgriDataTest, RowsOfOneSourceSentenceStayTogether) {
  const auto records = agri("icar-qna/soil.jsonl");
  const auto split = split_by_source(records, 0.1, 42);
  EXPECT_NEAR(static_cast<double>(split.held_out.size()), 241.7, 1);
  std::set<std::string> held_out;
  for (const auto& record : take(records, split.held_out)) held_out.insert(record.source);
  for (const auto& record : take(records, split.train))
    EXPECT_FALSE(held_out.contains(record.source)) << place_of(record);
}

}  // namespace
}  // namespace graft::data
