#include "pipelines/cloud/class_prompts.h"

#include <gmock/gmock.h>

#include "kernels/base/error.h"
#include "tests/support/temp_dir.h"

namespace graft::pipelines {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TempDir;

std::vector<CloudClass> read(const std::string& text) {
  const TempDir folder;
  testing::write_text(folder / "classes.txt", text);
  return classes_in_file(folder / "classes.txt");
}

template <class Call>
std::string complaint(Call call) {
  try {
    call();
  } catch (const Error& problem) {
    return problem.what();
  }
  return "";
}

TEST(ClassPrompts, ListAndFile) {
  const CloudClass pole{.name = "pole", .synonyms = {"lamp post"}, .attributes = {"a thin shaft", "a round foot"}};
  EXPECT_THAT(classes_in_list("car, night stand"), ElementsAre(CloudClass{"car", {}, {}}, CloudClass{"night stand", {}, {}}));
  EXPECT_THAT(read("# of the street\r\ncar\r\n\n pole, lamp post : a thin shaft, a round foot\n"), ElementsAre(CloudClass{"car", {}, {}}, pole));
}

TEST(ClassPrompts, WrongOnesNameTheirPlace) {
  EXPECT_THAT(complaint([] { classes_in_list("car,,tree"); }), HasSubstr("[--classes]"));
  EXPECT_THAT(complaint([] { classes_in_list("car,car"); }), HasSubstr("'car' a second time"));
  EXPECT_THAT(complaint([] { classes_in_list(""); }), HasSubstr("without a word"));
  EXPECT_THAT(complaint([] { read("car\ntree:\n"); }), HasSubstr("classes.txt:2"));
  EXPECT_THAT(complaint([] { read("# nothing\n\n"); }), HasSubstr("names no class"));
  EXPECT_THAT(complaint([] { classes_in_file("/no/such"); }), HasSubstr("/no/such"));
}

TEST(ClassPrompts, EachNameAndAttributeGivesAText) {
  const CloudClass pole{.name = "pole", .synonyms = {"lamp post"}, .attributes = {"a thin shaft"}};
  EXPECT_THAT(prompts_of(pole, {.text = "a {}.", .attribute = "{} with {}"}), ElementsAre("a pole.", "a lamp post.", "pole with a thin shaft"));
  // What a user writes is text, not a further place to fill.
  EXPECT_THAT(prompts_of({.name = "{}", .synonyms = {}, .attributes = {"x"}}, {.text = "a {}.", .attribute = "{} with {}"}), ElementsAre("a {}.", "{} with x"));
}

TEST(ClassPrompts, TextsNeedTheirPlaces) {
  EXPECT_NO_THROW(check(PromptConfig{}, "zero_shot"));
  EXPECT_THAT(complaint([] { check({.text = "a thing"}, "zero_shot"); }), HasSubstr("[zero_shot.text]"));
  EXPECT_THAT(complaint([] { check({.text = "{} {}"}, "zero_shot"); }), HasSubstr("[zero_shot.text]"));
  EXPECT_THAT(complaint([] { check({.attribute = "{}"}, "zero_shot"); }), HasSubstr("[zero_shot.attribute]"));
}

}  // namespace
}  // namespace graft::pipelines
