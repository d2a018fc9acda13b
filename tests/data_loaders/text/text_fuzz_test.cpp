#include <gtest/gtest.h>

#include "data_loaders/text/duplicates.h"
#include "data_loaders/text/record_writer.h"
#include "data_loaders/text/records.h"
#include "data_loaders/text/split.h"
#include "tests/support/mutate.h"
#include "tests/support/temp_dir.h"

namespace graft::data {
namespace {

const std::vector<std::string> kWords{"instruction", "output",  "messages", "conversations", "question", "answer",
                                      "answers",     "choices", "options",  "text",          "role",     "content",
                                      "from",        "value",   "user",     "assistant",     "null",     "true",
                                      "{}",          "[]"};

const std::vector<std::string> kJson{
    R"({"instruction": "Dose?", "input": "Wheat", "output": "20 kg", "history": [["a", "b"]], "system": "S", "meta": {"alpaca_input": "x"}})"
    "\n"
    R"({"instruction": "g\u00e9n\u00e9ral \ud83c\udf3e", "output": "ok"})"
    "\n",
    R"([{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, {"conversations": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}])",
    R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, {"role": "assistant", "content": "a"}], "id": 7})"
    "\n",
    R"({"question": "Q\nA. w\nB. x\nC. y", "answer": "C, A", "instruction": "do {} now"})"
    "\n"
    R"({"question": "Q", "choices": {"text": ["w", "x"], "label": ["A", "B"]}, "answerKey": "B"})"
    "\n"
    R"({"question": "Q", "context": "C", "answers": {"text": ["x"], "answer_start": [0]}})"
    "\n",
    "\xEF\xBB\xBF{\"text\": \"e\xCC\x81 \xE6\xB0\xB4\xE7\xA8\xBB\", \"source\": \"book\"}\r\n"};

const std::vector<std::string> kCsv{"question,A,B,C,answer\n\"Which, \"\"then\"\"?\nnow\",w,x,y,\"A,C\"\nQ,1,2,3,B\n",
                                    "messages;id\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"q\"\"},{"
                                    "\"\"role\"\":\"\"assistant\"\",\"\"content\"\":\"\"a\"\"}]\";1\n",
                                    "instruction\tinput\toutput\na\tb\tc\n"};

/// Reads the bytes as a file of that name and runs everything over what comes out.
void fuzz(const std::string& name, const std::vector<std::string>& originals, uint64_t seed) {
  const graft::testing::TempDir dir;
  const auto report = graft::testing::fuzz_reader(
      originals, graft::testing::fuzz_count(1500), seed, kWords, [&](const std::string& bytes) {
        graft::testing::write_text(dir / name, bytes);
        const auto set = read_records({(dir / name).string()}, {.bad_row_limit = 0.99});
        const auto duplicates = find_duplicates(set.records);
        find_overlaps(set.records, set.records);
        split_by_source(set.records, 0, 1);
        std::string written;  // write_records() would wait for the disk each time
        for (const auto& record : without_duplicates(set.records, duplicates)) {
          written += record_line(record, RecordFormat::kOpenAi) + "\n";
        }
        graft::testing::write_text(dir / "out.jsonl", written);
        read_records({(dir / "out.jsonl").string()}, {.bad_row_limit = 0});  // what we write, we read
      });
  for (const auto& failure : report.failures) ADD_FAILURE() << failure;
  EXPECT_GT(report.accepted, 0u);
  EXPECT_GT(report.refused, 0u);
  EXPECT_LT(report.grown_bytes, 512l << 20);
}

TEST(TextFuzzTest, DamagedJsonGivesNamedErrorsOnly) { fuzz("data.jsonl", kJson, 1); }
TEST(TextFuzzTest, DamagedCsvGivesNamedErrorsOnly) { fuzz("data.csv", kCsv, 2); }
TEST(TextFuzzTest, DamagedDatasetInfoGivesNamedErrorsOnly) {
  const graft::testing::TempDir dir;
  graft::testing::write_text(dir / "a.json", R"([{"ask": "q", "reply": "a"}])");
  const std::vector<std::string> infos{
      R"({"d": {"file_name": "a.json", "formatting": "alpaca", "columns": {"prompt": "ask", "response": "reply"}, "tags": {"role_tag": "r"}}})"};
  const auto report =
      graft::testing::fuzz_reader(infos, graft::testing::fuzz_count(1500), 3, kWords, [&](const std::string& bytes) {
        graft::testing::write_text(dir / "dataset_info.json", bytes);
        read_records({dir.path().string()});
      });
  for (const auto& failure : report.failures) ADD_FAILURE() << failure;
  EXPECT_GT(report.refused, 0u);
}

}  // namespace
}  // namespace graft::data
