#include "pipelines/metrics/choice_parser.h"

#include <gtest/gtest.h>

namespace graft::pipelines {
namespace {

struct Case {
  const char* text;
  const char* letters;  ///< "-": none
};

void expect_all(const std::vector<Case>& cases, size_t option_count = 4, const std::vector<std::string>& options = {}) {
  for (const auto& [text, letters] : cases)
    EXPECT_EQ(parse_choice(text, option_count, options).value_or("-"), letters) << "text: " << text;
}

TEST(ChoiceParserTest, BareLetters) {
  expect_all({{"B", "B"},
              {"(B)", "B"},
              {" B.\n", "B"},
              {"b", "B"},
              {"(c)", "C"},
              {"**D**", "D"},
              {"\"A\"", "A"},
              {"[B]", "B"},
              {"B)", "B"},
              {"Ｂ", "B"},
              {"（C）", "C"},
              {"A", "A"}});
}

TEST(ChoiceParserTest, LetterWithTheOptionsText) {
  expect_all({{"B. Increase by 45 %", "B"},
              {"A) A plant hormone", "A"},
              {"C: because A is wrong", "C"},
              {"D、水稻", "D"},
              {"B Increase by 45", "B"}});
}

TEST(ChoiceParserTest, SeveralLetters) {
  expect_all({{"Answer: B and D", "BD"},
              {"D, A", "AD"},
              {"ACD", "ACD"},
              {"A,C", "AC"},
              {"A、C、D", "ACD"},
              {"A and C.", "AC"},
              {"B D", "BD"},
              {"The correct answers are A, B, and D.", "ABD"},
              {"(A) and (C)", "AC"},
              {"答案：A和C", "AC"},
              {"A. first\nC. third", "AC"},
              {"**A**, **B**", "AB"}});
}

TEST(ChoiceParserTest, AnswerPhrases) {
  expect_all({{"The answer is B because A is wrong.", "B"},
              {"The answer is A because of rain", "A"},
              {"After some thought, the correct answer is **C**.", "C"},
              {"Answer: (D)", "D"},
              {"正确答案：C", "C"},
              {"答案是B。", "B"},
              {"故选D", "D"},
              {"The best option is C", "C"},
              {"I would choose B.", "B"},
              {"I think the answer would be D", "D"},
              {"So \\boxed{B}", "B"},
              {"Answer B is tempting, but the final answer is C", "C"},
              {"answer: b", "B"},
              {"Considering the soil, it must be (B) here", "B"}});
}

TEST(ChoiceParserTest, RomanNumerals) {
  expect_all({{"II", "B"},
              {"(III)", "C"},
              {"Answer: IV", "D"},
              {"I and III", "AC"},
              {"(ii)", "B"},
              {"Ⅲ", "C"},
              {"I", "A"},
              {"V", "-"}});
  expect_all({{"V", "E"}, {"VI", "F"}}, 6);
  expect_all({{"I", "I"}}, 9);  // with nine options, I is a letter
}

TEST(ChoiceParserTest, ThinkingIsNoAnswer) {
  expect_all({{"<think>Maybe A. The answer is A.</think>\n\nC", "C"},
              {"<think>\n\n</think>\n\nThe answer is B", "B"},
              {"<think>The answer is B</think>", "-"},
              {"<think>It could be A or B, the answer is", "-"},
              {"D is my guess</think>B", "B"}});
}

TEST(ChoiceParserTest, NoAnswer) {
  expect_all({{"", "-"},
              {"   ", "-"},
              {"I don't know.", "-"},
              {"A plant grows in soil", "-"},
              {"None of these", "-"},
              {"E", "-"},
              {"Z", "-"},
              {"the answer is unclear", "-"},
              {"the answer is a plant", "-"},
              {"Because water is scarce", "-"},
              {"42", "-"},
              {"不知道", "-"},
              {"Dry soil", "-"},
              {"Could be (A) or maybe (B)", "-"}});
}

TEST(ChoiceParserTest, TheTextOfAnOption) {
  expect_all({{"no significant change.", "C"}, {"Decrease", "A"}, {"a", "A"}, {"Something else", "-"}}, 4,
             {"Decrease", "Increase", "No significant change", "Both"});
}

TEST(ChoiceParserTest, WithoutThinkingKeepsPlainText) {
  EXPECT_EQ(without_thinking("plain"), "plain");
  EXPECT_EQ(without_thinking("<think>x</think>y"), "y");
  EXPECT_EQ(without_thinking("<think>x"), "");
}

}  // namespace
}  // namespace graft::pipelines
