#include "data_loaders/text/duplicates.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <ctime>
#include <functional>
#include <limits>

#include "data_loaders/text/similar_sets.h"
#include "data_loaders/text/word_tokens.h"
#include "peft_core/base/rng.h"

namespace graft::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Record dialogue(const std::string& user, const std::string& assistant) {
  return {.turns = {{"user", user}, {"assistant", assistant}}, .answers = {assistant}};
}

Record choice(const std::string& question, const std::vector<std::string>& choices, const std::string& gold) {
  Record record{.question = question, .choices = choices, .gold = gold, .answers = {gold}};
  record.turns = {{"user", question_prompt(record)}, {"assistant", gold}};
  return record;
}

Record question(const std::string& context, const std::string& asked, const std::string& answer) {
  Record record{.question = asked, .context = context, .answers = {answer}};
  record.turns = {{"user", question_prompt(record)}, {"assistant", answer}};
  return record;
}

std::string random_words(RandomStream& random, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += (i == 0 ? "w" : " w") + std::to_string(random.below(5000));
  return text;
}

const std::string kLong =
    "When the soil is above field capacity excess water leaves the root zone and carries nitrate with it";

TEST(WordTokensTest, FoldCaseWidthAndPunctuation) {
  EXPECT_EQ(comparison_form("The Soil's  ＰＨ: 6.5!"), "the soil s ph 6 5");
  EXPECT_EQ(comparison_form("水稻，施肥20kg"), "水 稻 施 肥 20kg");
  EXPECT_TRUE(is_mostly_undivided("下列关于水稻 rice"));
  EXPECT_FALSE(is_mostly_undivided("rice 水"));
}

TEST(JaccardTest, HandComputed) {
  EXPECT_DOUBLE_EQ(jaccard({1, 2, 3, 4}, {2, 3, 5}), 0.4);
  EXPECT_DOUBLE_EQ(jaccard({}, {}), 1);
  // abcdef has the 5-grams abcde, bcdef; abcdeX has abcde, bcdeX: one of three.
  EXPECT_DOUBLE_EQ(jaccard(five_grams("abcdef"), five_grams("abcdeX")), 1.0 / 3);
  EXPECT_THAT(five_grams("水稻施肥时间"), SizeIs(2));
}

TEST(DuplicatesTest, CaseAndPunctuationDoNotHideARepetition) {
  const std::vector<Record> records{dialogue("How deep?", "Two cm."), dialogue("Other", "Text"),
                                    dialogue("how  DEEP", "two cm"), dialogue("How deep?", "Ten cm.")};
  const auto found = find_duplicates(records);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].index, 2);
  EXPECT_EQ(found[0].of, 0);
  EXPECT_EQ(found[0].likeness, Likeness::kExact);
  const auto kept = without_duplicates(records, found);
  ASSERT_THAT(kept, SizeIs(3));
  EXPECT_EQ(answer_of(kept[2]), "Ten cm.");
}

TEST(DuplicatesTest, OptionOrderDoesNotHideARepetition) {
  const auto found = find_duplicates({choice("Which?", {"rice", "wheat", "maize"}, "B"),
                                      choice("Which?", {"wheat", "maize", "rice"}, "A"),
                                      choice("Which?", {"wheat", "maize", "rice"}, "B")});
  ASSERT_THAT(found, SizeIs(1));  // the third names another content as right
  EXPECT_EQ(found[0].index, 1);
}

TEST(DuplicatesTest, NearRepetitionsAreFoundAndOnlyThose) {
  const auto found = find_duplicates({dialogue(kLong, "yes"), dialogue(kLong + " today", "yes"),
                                      dialogue("Something quite different about cattle feed", "yes")});
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].likeness, Likeness::kNear);
  EXPECT_GT(found[0].similarity, 0.8);
  EXPECT_LT(found[0].similarity, 1.0);
  EXPECT_THAT(find_duplicates({dialogue(kLong, "yes"), dialogue(kLong + " today", "yes")}, {.near = false}), IsEmpty());
}

TEST(DuplicatesTest, AQuestionIsNoRepetitionBecauseItsPassageIs) {
  EXPECT_THAT(find_duplicates({question(kLong, "What leaves the root zone?", "water"),
                               question(kLong, "What is carried along?", "nitrate")}),
              IsEmpty());
}

TEST(DuplicatesTest, TheReportNamesLinesAndIds) {
  std::vector<Record> records{dialogue("q", "a"), dialogue("q", "a")};
  records[0].file = records[1].file = "x.jsonl";
  records[0].line = 3;
  records[1].line = 9;
  records[1].id = "soil-1";
  EXPECT_THAT(to_text(find_duplicates(records), records),
              AllOf(HasSubstr("1 exact, 0 near of 2 rows"), HasSubstr("x.jsonl:9 (soil-1) repeats x.jsonl:3")));
}

TEST(DuplicatesTest, NearSearchMissesHardlyAnyPair) {
  RandomStream random(5, "near");
  std::vector<Record> records;
  for (int i = 0; i < 500; ++i) records.push_back({.text = random_words(random, 60)});
  for (size_t i = 0; i < 500; ++i) {  // one word of 60 changed: similarity about 0.9
    std::string text = records[i].text;
    const size_t space = text.find(' ', text.size() / 2);
    records.push_back({.text = text.substr(0, space) + " changed" + text.substr(text.find(' ', space + 1))});
  }
  EXPECT_THAT(find_duplicates(records), SizeIs(500));
}

/// Time of the processor, which other work on the machine hardly changes, least of three.
double processor_seconds(const std::function<void()>& work) {
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 3; ++i) {
    const auto begin = std::clock();
    work();
    least = std::min(least, static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
  }
  return least;
}

TEST(DuplicatesTest, TimeGrowsNearlyWithTheNumberOfRows) {
  const auto seconds_for = [](int rows) {
    RandomStream random(9, "time");
    std::vector<Record> records;
    for (int i = 0; i < rows; ++i)
      records.push_back(dialogue("How much " + random_words(random, 30) + " per hectare?", random_words(random, 15)));
    return processor_seconds([&] { EXPECT_THAT(find_duplicates(records), IsEmpty()); });
  };
  EXPECT_LT(seconds_for(10000), 10 * seconds_for(2500));  // quadratic would be 16
}

TEST(DuplicatesTest, RowsFromOneMouldDoNotMakeItQuadratic) {
  RandomStream random(9, "mould");
  std::vector<Record> records;
  const std::string mould = random_words(random, 40);
  for (int i = 0; i < 2000; ++i)
    records.push_back({.text = mould + " " + random_words(random, 25)});  // similarity about 0.45
  EXPECT_LT(processor_seconds([&] { find_duplicates(records); }), 30);
}

TEST(OverlapTest, APlantedQuestionIsFoundWithOtherPunctuationAndOptionOrder) {
  const std::vector<Record> eval{
      choice("Which crop needs the most water in summer?", {"paddy rice", "winter wheat", "pearl millet"}, "A")};
  const std::vector<Record> train{
      dialogue("which crop needs the most water, in summer", "Rice."),
      choice("Which crop needs the most water in summer?", {"pearl millet", "paddy rice", "winter wheat"}, "B"),
      dialogue("Which crop needs the most water in summer?\nA. pearl millet\nB. paddy rice\nC. winter wheat", "B"),
      {.text = "Quiz: Which crop needs the most water in summer? Answer: paddy rice."},
      dialogue("Which crop needs the least water?", "Millet.")};
  const auto found = find_overlaps(train, eval);
  ASSERT_THAT(found, SizeIs(4));
  EXPECT_EQ(found[0].likeness, Likeness::kPhrase);
  EXPECT_EQ(found[1].likeness, Likeness::kExact);
  EXPECT_EQ(found[2].likeness, Likeness::kExact);
  EXPECT_EQ(found[3].likeness, Likeness::kPhrase);
  EXPECT_THAT(without_overlaps(train, found), SizeIs(1));
  EXPECT_THAT(to_text(found, train, eval), HasSubstr("2 exact, 0 near, 2 shared phrases in 5 rows"));
}

TEST(OverlapTest, ThirteenWordsOfALongTextAreAnOverlapAndTwelveAreNot) {
  const std::string words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen";
  const std::vector<Record> eval{{.text = words + " and some more of the text"}};
  const auto planted = [&](const std::string& part) {
    return std::vector<Record>{{.text = "before it came " + part + " after it went"}};
  };
  const auto first = [&](int count) {
    size_t end = 0;
    for (int i = 0; i < count; ++i) end = words.find(' ', end + 1);
    return words.substr(0, end);
  };
  EXPECT_THAT(find_overlaps(planted(first(13)), eval), SizeIs(1));
  EXPECT_THAT(find_overlaps(planted(first(12)), eval), IsEmpty());
}

TEST(OverlapTest, ChineseQuestionsAreFoundByTheirCharacters) {
  const std::vector<Record> eval{choice("大黄根茎的异常维管束存在于哪一个部位", {"皮层中", "韧皮部中", "髓中"}, "C")};
  EXPECT_THAT(find_overlaps({dialogue("请回答：大黄根茎的异常维管束，存在于哪一个部位？谢谢", "髓中")}, eval),
              SizeIs(1));
  EXPECT_THAT(find_overlaps({dialogue("豌豆的卷须是哪一个部位变态而来", "叶")}, eval), IsEmpty());
}

TEST(OverlapTest, TheSameShortQuestionAboutAnotherPassageIsNone) {
  const std::vector<Record> eval{question("Passage one.", "What is the title?", "One")};
  EXPECT_THAT(find_overlaps({question("Passage two.", "What is the title?", "Two")}, eval), IsEmpty());
  EXPECT_THAT(find_overlaps({question("passage one", "What is the title?", "One")}, eval), SizeIs(1));
  EXPECT_THAT(find_overlaps({}, eval), IsEmpty());
  EXPECT_THAT(find_overlaps({dialogue("q", "a")}, {}), IsEmpty());
}

}  // namespace
}  // namespace graft::data
