#include "data_loaders/text/records.h"

#include <gmock/gmock.h>

#include "data_loaders/text/record_writer.h"
#include "kernels/base/error.h"
#include "tests/support/shared_data.h"
#include "tests/support/temp_dir.h"

namespace graft::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class RecordsTest : public ::testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) {
    graft::testing::write_text(dir_ / name, text);
    return (dir_ / name).string();
  }
  std::vector<Record> read(const std::string& name, const std::string& text, ReadOptions options = {}) {
    return read_records({write(name, text)}, options).records;
  }
  /// Reads rows of which some are bad, whatever their share.
  RecordSet read_any(const std::string& name, const std::string& text) {
    return read_records({write(name, text)}, {.bad_row_limit = 0.999});
  }
  std::string error_of(const std::string& name, const std::string& text, ReadOptions options = {}) {
    try {
      read(name, text, options);
    } catch (const Error& error) {
      return std::to_string(error.exit_code()) + " " + error.what();
    }
    return "no error";
  }
  graft::testing::TempDir dir_;
};

const std::string kGood = R"({"instruction": "q", "output": "a"})";

TEST_F(RecordsTest, AlpacaRowsBecomeTurnsWithSystemAndHistory) {
  const auto records =
      read("a.jsonl", R"({"instruction": "Dose?", "input": "Wheat", "output": "20 kg", "system": "Be brief.", )"
                      R"("history": [["Hello", "Hi"]], "id": 7, "topic": "soil"})");
  ASSERT_THAT(records, SizeIs(1));
  EXPECT_THAT(records[0].turns, ElementsAre(Message{"system", "Be brief."}, Message{"user", "Hello"}, Message{"assistant", "Hi"},
                                            Message{"user", "Dose?\nWheat"}, Message{"assistant", "20 kg"}));
  EXPECT_EQ(records[0].id, "7");
  EXPECT_THAT(records[0].meta, ElementsAre(std::pair<const std::string, std::string>("topic", "\"soil\"")));
  EXPECT_THAT(records[0].answers, ElementsAre("20 kg"));
}

TEST_F(RecordsTest, ShareGptRolesAreTranslated) {
  const auto records = read("s.json", R"([{"system": "S", "conversations": [{"from": "human", "value": "q"},
      {"from": "function_call", "value": "call"}, {"from": "observation", "value": "1"}, {"from": "gpt", "value": "a"}]
}])");
  EXPECT_THAT(records.at(0).turns, ElementsAre(Message{"system", "S"}, Message{"user", "q"}, Message{"assistant", "call"},
                                               Message{"tool", "1"}, Message{"assistant", "a"}));
}

TEST_F(RecordsTest, OpenAiContentMayBeAListOfTextParts) {
  const auto records = read("o.jsonl", R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]},
                                       {"role": "assistant", "content": "a"}]})");
  EXPECT_THAT(records.at(0).turns, ElementsAre(Message{"user", "q"}, Message{"assistant", "a"}));
}

TEST_F(RecordsTest, CompletionAndTextRows) {
  EXPECT_THAT(read("c.jsonl", R"({"prompt": "p", "completion": "c"})").at(0).turns,
              ElementsAre(Message{"user", "p"}, Message{"assistant", "c"}));
  const auto texts = read("t.jsonl", "{\"text\": \"one\"}\n\n{\"text\": \"two\", \"source\": \"book\"}\n");
  ASSERT_THAT(texts, SizeIs(2));
  EXPECT_EQ(texts[1].text, "two");
  EXPECT_EQ(texts[1].source, "book");
  EXPECT_EQ(texts[1].line, 3);
  EXPECT_EQ(texts[1].row, 2);
}

TEST_F(RecordsTest, AQuestionWithContextKeepsEveryGoldAnswerOnce) {
  const auto list = read(
      "q.jsonl",
      R"({"question": "What?", "context": "C.", "answers": [{"text": "x", "answer_start": 0}, {"text": "y"}, {"text": "x"}]})");
  EXPECT_THAT(list.at(0).answers, ElementsAre("x", "y"));
  EXPECT_THAT(list.at(0).turns, ElementsAre(Message{"user", "C.\n\nWhat?"}, Message{"assistant", "x"}));
  EXPECT_EQ(list.at(0).source, "C.");
  const auto squad =
      read("q2.jsonl", R"({"question": "What?", "context": "C.", "answers": {"text": ["z"], "answer_start": [0]}})");
  EXPECT_THAT(squad.at(0).answers, ElementsAre("z"));
}

TEST_F(RecordsTest, OptionsComeAsObjectListColumnsOrLines) {
  const auto object =
      read("1.jsonl", R"({"question": "Q", "options": {"A": "x", "B": "y", "C": ""}, "answer": "B"})").at(0);
  EXPECT_THAT(object.choices, ElementsAre("x", "y"));
  EXPECT_EQ(object.gold, "B");
  EXPECT_THAT(object.turns, ElementsAre(Message{"user", "Q\nA. x\nB. y"}, Message{"assistant", "B"}));

  const auto list = read("2.jsonl", R"({"question": "Q", "choices": ["x", "y", "z"], "answer": 2})").at(0);
  EXPECT_EQ(list.gold, "C");

  const auto columns = read("3.csv", "question,A,B,C,D,answer\nQ,w,x,y,z,\"D,A\"\n").at(0);
  EXPECT_THAT(columns.choices, ElementsAre("w", "x", "y", "z"));
  EXPECT_EQ(columns.gold, "AD");

  const auto lines =
      read("4.jsonl", R"({"instruction": "Answer:", "question": "Stem\nmore\nA. w\nB. x\nC. y", "answer": "C, A"})")
          .at(0);
  EXPECT_EQ(lines.question, "Stem\nmore");
  EXPECT_EQ(lines.gold, "AC");
  EXPECT_THAT(lines.turns,
              ElementsAre(Message{"user", "Answer:\nStem\nmore\nA. w\nB. x\nC. y"}, Message{"assistant", "A, C"}));
}

TEST_F(RecordsTest, GoldLettersAreReadInEveryUsualForm) {
  const auto gold = [&](const std::string& answer) {
    return read("g.jsonl",
                R"({"question": "Q", "choices": {"A": "w", "B": "x", "C": "y", "D": "z"}, "answer": )" + answer + "}")
        .at(0)
        .gold;
  };
  EXPECT_EQ(gold("\"B\""), "B");
  EXPECT_EQ(gold("\"A,C\""), "AC");
  EXPECT_EQ(gold("\"D, A\""), "AD");
  EXPECT_EQ(gold("\"ACD\""), "ACD");
  EXPECT_EQ(gold("\"(B)\""), "B");
  EXPECT_EQ(gold("\"A、C\""), "AC");
  EXPECT_EQ(gold("[\"B\", \"D\"]"), "BD");
  EXPECT_EQ(gold("\"y\""), "C");
  EXPECT_THAT(read_any("bad.jsonl", R"({"question": "Q", "choices": ["x", "y"], "answer": "A"})"
                                    "\n"
                                    R"({"question": "Q", "choices": ["x", "y"], "answer": "C"})")
                  .report.bad_rows.at(0)
                  .reason,
              HasSubstr("names no option"));
}

TEST_F(RecordsTest, CsvHandlesQuotesLineBreaksAndByteOrderMark) {
  const auto records = read(
      "a.csv",
      "\xEF\xBB\xBFinstruction,input,output\r\n\"Say \"\"hi\"\", please\",,\"two\nlines\"\r\n\r\nplain,more,end\r\n");
  ASSERT_THAT(records, SizeIs(2));
  EXPECT_THAT(records[0].turns, ElementsAre(Message{"user", "Say \"hi\", please"}, Message{"assistant", "two\nlines"}));
  EXPECT_EQ(records[0].line, 2);
  EXPECT_EQ(records[1].line, 5);
  EXPECT_THAT(records[1].turns, ElementsAre(Message{"user", "plain\nmore"}, Message{"assistant", "end"}));
}

TEST_F(RecordsTest, CsvCellsMayHoldJson) {
  const auto records = read("m.csv",
                            "messages\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"q\"\"},{\"\"role\"\":"
                            "\"\"assistant\"\",\"\"content\"\":\"\"a\"\"}]\"\n");
  EXPECT_THAT(records.at(0).turns, ElementsAre(Message{"user", "q"}, Message{"assistant", "a"}));
}

TEST_F(RecordsTest, BrokenCsvRowsAreNamedByTheirFirstLine) {
  const auto set = read_any("b.csv", "instruction,output\na,\"b\nc\"\nonly one\nx\"y,z\n\"a\"b,c\nlast,row\n");
  ASSERT_THAT(set.report.bad_rows, SizeIs(3));
  EXPECT_THAT(set.report.bad_rows[0].place, HasSubstr("b.csv:4"));
  EXPECT_THAT(set.report.bad_rows[0].reason, HasSubstr("expected 2 fields"));
  EXPECT_THAT(set.report.bad_rows[1].place, HasSubstr("b.csv:5"));
  EXPECT_THAT(set.report.bad_rows[2].place, HasSubstr("b.csv:6"));
  EXPECT_THAT(set.records, SizeIs(2));
  EXPECT_THAT(error_of("u.csv", "instruction,output\na,\"never closed\nb,c\n"), HasSubstr("u.csv:2"));
}

TEST_F(RecordsTest, JsonArraysReportRowIndexAndLine) {
  const auto set = read_any("a.json", "[\n" + kGood + ",\n{\"instruction\": \"q\",\n \"output\": },\n" + kGood + "]");
  ASSERT_THAT(set.records, SizeIs(2));
  EXPECT_EQ(set.records[1].row, 3);
  EXPECT_EQ(set.records[1].line, 5);
  EXPECT_THAT(set.report.bad_rows.at(0).place, HasSubstr("a.json:3"));
  EXPECT_THAT(error_of("cut.json", "[" + kGood + ", {\"instruction\""), HasSubstr("not closed"));
}

TEST_F(RecordsTest, RolesMustAlternateAndEndWithTheAssistant) {
  const auto row_of = [](const std::string& roles) {
    const std::map<char, std::string> names{{'u', "user"}, {'a', "assistant"}, {'s', "system"}, {'t', "tool"}};
    std::string turns;
    for (const char role : roles) {
      if (!turns.empty()) turns += ",";
      turns += R"({"role":")" + names.at(role) + R"(","content":"x"})";
    }
    return "{\"messages\":[" + turns + "]}\n";
  };
  for (const std::string good : {"ua", "sua", "suaua", "uatta"}) {
    EXPECT_EQ(read_any("r.jsonl", row_of("ua") + row_of(good)).report.bad_row_count(), 0) << good;
  }
  for (const std::string bad : {"", "u", "a", "s", "uua", "uaa", "usa", "ssua", "ta", "uat"}) {
    EXPECT_EQ(read_any("r.jsonl", row_of("ua") + row_of(bad)).report.bad_row_count(), 1) << bad;
  }
}

TEST_F(RecordsTest, EmptyAnswersAndInvalidTextAreBadRows) {
  const auto set = read_any("e.jsonl", kGood +
                                           "\n"
                                           R"({"instruction": "q", "output": " \u3000\n"})"
                                           "\n"
                                           R"({"instruction": "q"})"
                                           "\n"
                                           "{\"instruction\": \"q\xFF\", \"output\": \"a\"}\n"
                                           R"({"instruction": "\ud800", "output": "a"})"
                                           "\n[1]\n{\n");
  ASSERT_EQ(set.report.bad_row_count(), 6);
  EXPECT_THAT(set.report.bad_rows[0].reason, HasSubstr("empty answer"));
  EXPECT_THAT(set.report.bad_rows[1].reason, HasSubstr("\"output\""));
  EXPECT_THAT(set.report.bad_rows[2].reason, HasSubstr("UTF-8"));
  EXPECT_THAT(set.report.bad_rows[5].place, HasSubstr("e.jsonl:7"));
}

TEST_F(RecordsTest, TextIsComposedAndFreeOfByteOrderMarks) {
  const auto records =
      read("n.jsonl", "\xEF\xBB\xBF{\"instruction\": \"\\ufeffe\\u0301\", \"output\": \"\\u0928\\u093c\"}\n");
  EXPECT_EQ(records.at(0).turns[0].content, "\u00e9");
  EXPECT_EQ(records.at(0).turns[1].content, "\u0929");  // Devanagari: letter and nukta compose
}

TEST_F(RecordsTest, PastTheLimitTheRunStopsWithTheFirstReasons) {
  std::string rows;
  for (int i = 0; i < 300; ++i) rows += i % 100 == 7 ? "{\"instruction\": \"q\"}\n" : kGood + "\n";
  EXPECT_EQ(read_records({write("ok.jsonl", rows)}, {.bad_row_limit = 0.01}).report.bad_row_count(), 3);
  EXPECT_THAT(error_of("ok.jsonl", rows + "oops\n"),
              AllOf(HasSubstr("3 "), HasSubstr("4 of 301 rows"), HasSubstr("8 no field")));
  EXPECT_THAT(error_of("none.jsonl", rows, {.bad_row_limit = 0}), HasSubstr("3 of 300 rows"));
  // One slip in a small file is forgiven, but not a file without a single good row.
  EXPECT_EQ(read_records({write("slip.jsonl", kGood + "\n{}\n")}).report.bad_row_count(), 1);
  EXPECT_THAT(error_of("all.jsonl", "{\"instruction\": \"q\", \"input\": \"\"}\n"), HasSubstr("1 of 1 rows"));
  EXPECT_THAT(error_of("empty.jsonl", "\n\n"), HasSubstr("no rows"));
}

TEST_F(RecordsTest, AnUnknownFormatListsTheKnownOnes) {
  const auto line = error_of("u.jsonl", R"({"foo": 1, "bar": 2})");
  EXPECT_THAT(line, AllOf(HasSubstr("2 "), HasSubstr("bar, foo"), HasSubstr("alpaca (instruction"),
                          HasSubstr("sharegpt"), HasSubstr("data.format")));
  EXPECT_THROW(record_format("parquet"), InvalidArgument);
  EXPECT_EQ(record_format("openai"), RecordFormat::kOpenAi);
  EXPECT_THAT(error_of("x.parquet", "PAR1"), HasSubstr(".jsonl"));
  EXPECT_THAT(error_of("w.csv", std::string("\xFF\xFEi\0n\0", 6)), HasSubstr("UTF-16"));
}

TEST_F(RecordsTest, ATextFileIsOneDocument) {
  const auto records = read("doc.txt", "\xEF\xBB\xBFLine one\nLine two\n");
  EXPECT_EQ(records.at(0).text, "Line one\nLine two\n");
  EXPECT_EQ(records.at(0).source, (dir_ / "doc.txt").string());
  EXPECT_THAT(error_of("doc.txt", "text", {.format = RecordFormat::kAlpaca}), HasSubstr("2 "));
}

TEST_F(RecordsTest, ExplicitFormatWinsOverRecognition) {
  const auto records =
      read("x.jsonl", R"({"text": "doc", "instruction": "q", "output": "a"})", {.format = RecordFormat::kText});
  EXPECT_EQ(records.at(0).text, "doc");
  EXPECT_EQ(records.at(0).meta.size(), 2u);
}

TEST_F(RecordsTest, DeepAndHugeRowsAreRefusedOneByOne) {
  const std::string deep = "{\"instruction\": " + std::string(100000, '[') + std::string(100000, ']') + "}";
  const std::string huge = "{\"instruction\": \"" + std::string((16 << 20) + 1, 'x') + "\", \"output\": \"a\"}";
  std::string many = "{\"instruction\": [0";
  for (int i = 0; i < 1'000'001; ++i) many += ",0";
  const auto set = read_any("d.jsonl", kGood + "\n" + deep + "\n" + huge + "\n" + many + "]}\n" + kGood);
  ASSERT_EQ(set.report.bad_row_count(), 3);
  EXPECT_THAT(set.report.bad_rows[0].reason, HasSubstr("deeper"));
  EXPECT_THAT(set.report.bad_rows[1].reason, HasSubstr("16 MiB"));
  EXPECT_THAT(set.report.bad_rows[2].reason, HasSubstr("million"));
  EXPECT_EQ(set.records.at(1).line, 5);
}

TEST_F(RecordsTest, CombiningMarksWithoutEndAreRefusedNotNormalised) {
  std::string marks;
  for (int i = 0; i < 200000; ++i)
    marks += i % 2 == 0 ? "\xCC\x81" : "\xCC\xA3";  // alternating classes are the slow case
  const auto set = read_any("m.jsonl", kGood + "\n{\"instruction\": \"a" + marks + "\", \"output\": \"a\"}\n");
  EXPECT_THAT(set.report.bad_rows.at(0).reason, HasSubstr("combining"));
}

}  // namespace
}  // namespace graft::data
