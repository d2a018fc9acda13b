#include "data_loaders/text/record_writer.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "data_loaders/text/records.h"
#include "kernels/base/error.h"
#include "tests/support/temp_dir.h"

namespace graft::data {
namespace {

using ::testing::HasSubstr;

class RecordWriterTest : public ::testing::Test {
 protected:
  std::vector<Record> read(const std::string& text, RecordFormat format = RecordFormat::kAuto) {
    graft::testing::write_text(dir_ / "in.jsonl", text);
    return read_records({(dir_ / "in.jsonl").string()}, {.format = format}).records;
  }
  std::vector<Record> through(const std::vector<Record>& records, RecordFormat format) {
    write_records(dir_ / "out.jsonl", records, format);
    return read_records({(dir_ / "out.jsonl").string()}).records;
  }
  void expect_same(const Record& a, const Record& b) {
    EXPECT_EQ(a.turns, b.turns);
    EXPECT_EQ(a.text, b.text);
    EXPECT_EQ(a.question, b.question);
    EXPECT_EQ(a.context, b.context);
    EXPECT_EQ(a.instruction, b.instruction);
    EXPECT_EQ(a.input, b.input);
    EXPECT_EQ(a.choices, b.choices);
    EXPECT_EQ(a.gold, b.gold);
    EXPECT_EQ(a.answers, b.answers);
    EXPECT_EQ(a.id, b.id);
    EXPECT_EQ(a.source, b.source);
    EXPECT_EQ(a.meta, b.meta);
  }
  graft::testing::TempDir dir_;
};

TEST_F(RecordWriterTest, AlpacaToOpenAiAndBackLosesNothing) {
  const std::vector<std::string> rows{
      R"({"instruction":"Dose?","input":"Wheat","output":"20 kg"})",
      R"({"instruction":"Dose?","input":"","output":"20 kg"})",
      R"({"instruction":"","input":"only input","output":"a"})",
      R"({"instruction":"ends with a line\n","input":"\nbegins with one","output":"a\n\nb "})",
      R"({"instruction":"a\nb","input":"b","output":"गेहूँ 水稻 ñ","system":"Be brief."})",
      R"({"instruction":"x","input":"y","output":"z","id":"soil-7","meta":{"alpaca":1,"topic":["a",{"b":null}]}})"};
  for (const auto& row : rows) {
    const auto first = read(row);
    const auto openai = through(first, RecordFormat::kOpenAi);
    expect_same(openai.at(0), first.at(0));
    EXPECT_EQ(nlohmann::json::parse(record_line(openai.at(0), RecordFormat::kAlpaca)), nlohmann::json::parse(row));
  }
}

TEST_F(RecordWriterTest, HistoryAndUnknownKeysSurvive) {
  const auto records =
      read(R"({"instruction":"c","input":"d","output":"e","history":[["a","b"]],"topic":"soil","source_id":"doc-1"})");
  expect_same(through(records, RecordFormat::kAlpaca).at(0), records.at(0));
  expect_same(through(records, RecordFormat::kOpenAi).at(0), records.at(0));
}

TEST_F(RecordWriterTest, QuestionsWithOptionsAndContextSurviveAsMessages) {
  for (const std::string row :
       {R"({"id":"1","instruction":"Answer.","question":"Q\nA. w\nB. x","answer":"B, A","lang":"en"})",
        R"({"question":"Q","options":{"A":"w","B":"x"},"answer":"B","source":"book 3"})",
        R"({"question":"Q","context":"C. D.","answers":[{"text":"w"},{"text":"x"}]})",
        R"({"question":"Q","answer":"w"})", R"({"text":"A document.","source":"book"})",
        R"({"system":"S","conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]})"}) {
    const auto records = read(row);
    expect_same(through(records, RecordFormat::kOpenAi).at(0), records.at(0));
  }
}

TEST_F(RecordWriterTest, WhatAlpacaCannotHoldIsRefused) {
  const auto records = read(
      R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"f"},{"role":"tool","content":"1"},{"role":"assistant","content":"a"}]})");
  EXPECT_THROW(record_line(records.at(0), RecordFormat::kAlpaca), InvalidArgument);
  EXPECT_THROW(record_line(records.at(0), RecordFormat::kShareGpt), InvalidArgument);
}

}  // namespace
}  // namespace graft::data
