#include "data_loaders/text/dataset_info.h"

#include <gmock/gmock.h>

#include "data_loaders/text/records.h"
#include "kernels/base/error.h"
#include "tests/support/temp_dir.h"

namespace graft::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class DatasetInfoTest : public ::testing::Test {
 protected:
  void SetUp() override {
    graft::testing::write_text(dir_ / "dataset_info.json", R"({
      "plain": {"file_name": "plain.json"},
      "renamed": {"file_name": "renamed.json", "columns": {"prompt": "ask", "response": "reply", "system": "role"}},
      "chat": {"file_name": "chat.jsonl", "formatting": "sharegpt", "columns": {"messages": "dialog"},
               "tags": {"role_tag": "who", "content_tag": "said", "user_tag": "farmer", "assistant_tag": "advisor"}},
      "documents": {"file_name": "parts", "columns": {"prompt": "body"}},
      "hub": {"hf_hub_url": "someone/data"}, "pairs": {"file_name": "x.json", "ranking": true},
      "odd": {"file_name": "x.json", "formatting": "parquet"}})");
    graft::testing::write_text(dir_ / "plain.json", R"([{"instruction": "q", "output": "a"}])");
    graft::testing::write_text(dir_ / "renamed.json",
                               R"([{"ask": "q", "reply": "a", "role": "S", "history": "kept as it is"}])");
    graft::testing::write_text(dir_ / "chat.jsonl",
                               R"({"dialog": [{"who": "farmer", "said": "q"}, {"who": "advisor", "said": "a"}]})");
    std::filesystem::create_directory(dir_ / "parts");
    graft::testing::write_text(dir_ / "parts/1.jsonl", R"({"body": "one"})");
    graft::testing::write_text(dir_ / "parts/2.jsonl", R"({"body": "two"})");
  }
  std::vector<Record> read(const std::string& entry) {
    return read_records({(dir_ / "dataset_info.json").string() + ":" + entry}).records;
  }
  std::string error_of(const std::string& name) {
    try {
      read_records({name});
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "no error";
  }
  graft::testing::TempDir dir_;
};

TEST_F(DatasetInfoTest, DefaultsAreThoseOfAlpaca) {
  EXPECT_THAT(read("plain").at(0).turns, ElementsAre(Message{"user", "q"}, Message{"assistant", "a"}));
}

TEST_F(DatasetInfoTest, ColumnsAreRenamedAndUnnamedOnesDoNotCount) {
  const auto record = read("renamed").at(0);
  EXPECT_THAT(record.turns, ElementsAre(Message{"system", "S"}, Message{"user", "q"}, Message{"assistant", "a"}));
  EXPECT_EQ(record.meta.count("history"), 1u);
}

TEST_F(DatasetInfoTest, TagsNameRolesAndContent) {
  EXPECT_THAT(read("chat").at(0).turns, ElementsAre(Message{"user", "q"}, Message{"assistant", "a"}));
}

TEST_F(DatasetInfoTest, AFolderOfDocumentsIsReadInOrder) {
  const auto records = read("documents");
  ASSERT_THAT(records, SizeIs(2));
  EXPECT_EQ(records[0].text, "one");
  EXPECT_EQ(records[1].text, "two");
}

TEST_F(DatasetInfoTest, TheFolderMayBeNamedInsteadOfTheFile) {
  EXPECT_THAT(read_records({dir_.path().string() + ":plain"}).records, SizeIs(1));
  EXPECT_THAT(error_of(dir_.path().string()), AllOf(HasSubstr("which one"), HasSubstr("renamed")));
}

TEST_F(DatasetInfoTest, WhatCannotBeReadIsNamed) {
  const std::string info = (dir_ / "dataset_info.json").string();
  EXPECT_THAT(error_of(info + ":nothing"), AllOf(HasSubstr("plain"), HasSubstr("nothing")));
  EXPECT_THAT(error_of(info + ":hub"), HasSubstr("hf_hub_url"));
  EXPECT_THAT(error_of(info + ":pairs"), HasSubstr("preference"));
  EXPECT_THAT(error_of(info + ":odd"), HasSubstr("parquet"));
  EXPECT_THAT(error_of((dir_ / "parts").string()), HasSubstr("dataset_info.json"));
  EXPECT_THROW(read_records({(dir_ / "absent.jsonl").string()}), IoError);
}

}  // namespace
}  // namespace graft::data
