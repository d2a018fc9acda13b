#include "peft_core/base/json_files.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "tests/support/temp_dir.h"

namespace graft {
namespace {

TEST(JsonFiles, MalformedTextNamesFileAndLine) {
  testing::TempDir dir;
  testing::write_text(dir / "a.json", "{\"a\": 1,\n\"b\": }\n");
  try {
    read_json_file(dir / "a.json");
    FAIL();
  } catch (const IoError& error) {
    EXPECT_THAT(error.what(), ::testing::AllOf(::testing::HasSubstr("a.json"), ::testing::HasSubstr("line 2")));
  }
}

TEST(JsonFiles, DeepNestingIsRefusedAndBracketsInTextDoNotCount) {
  EXPECT_THROW(parse_json(std::string(1'000'000, '['), "deep"), IoError);
  EXPECT_THROW(parse_json(std::string(201, '[') + std::string(201, ']'), "deep"), IoError);
  EXPECT_NO_THROW(parse_json(std::string(200, '[') + std::string(200, ']'), "deep"));
  EXPECT_NO_THROW(parse_json("\"\\\"" + std::string(300, '[') + "\"", "text"));
}

TEST(JsonFiles, StrangeBytesAreErrorsNotCrashes) {
  for (const auto* text : {"", "\xff", "\"\xff\"", "{\"a\":1e999}", "\"\\", "nul", "[1,2", "{\"a\" 1}", "\"\\ud800\""}) {
    EXPECT_THROW(parse_json(text, "x"), IoError) << text;
  }
}

TEST(JsonFiles, WritesAtomicallyInOrderAndReplacesBadBytes) {
  testing::TempDir dir;
  write_json_file(dir / "a.json", {{"z", 1}, {"a", "\xff"}});
  EXPECT_EQ(testing::read_text(dir / "a.json"), "{\n  \"z\": 1,\n  \"a\": \"\xef\xbf\xbd\"\n}\n");
  EXPECT_EQ(to_json_line({{"z", 0.5}, {"a", "ü"}}), "{\"z\":0.5,\"a\":\"ü\"}");
}

}  // namespace
}  // namespace graft
