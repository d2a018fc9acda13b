#include "data_loaders/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <sstream>
#include <thread>

#include "data_loaders/text/streaming_decoder.h"
#include "data_loaders/text/tokenize_lines.h"
#include "data_loaders/text/unicode_regex.h"
#include "kernels/base/error.h"
#include "tests/data_loaders/text/small_tokenizers.h"
#include "tests/support/temp_dir.h"

namespace graft::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::byte_level_json;
using testing::llama_json;
using testing::load_json;
using testing::sentencepiece_bytes;
using testing::TempDir;
using testing::write_text;

std::string complaint_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was refused";
}

TEST(Tokenizer, MergesTheLowestRankFirstAndTheLeftmostAmongEquals) {
  const auto tokenizer = load_json(byte_level_json({"a a", "aa a", "b c", "a b"}, {}));
  EXPECT_THAT(tokenizer->encode("aaaa"), ElementsAre(256, 256));  // two pairs before one triple
  EXPECT_THAT(tokenizer->encode("aaa"), ElementsAre(257));
  EXPECT_THAT(tokenizer->encode("abc"), ElementsAre('a', 258));
}

TEST(Tokenizer, SpecialTokensAreParsedOrLeftAloneAsAsked) {
  const auto tokenizer = load_json(byte_level_json({}, {"<|end|>"}));
  EXPECT_THAT(tokenizer->encode("a<|end|>b"), ElementsAre('a', 256, 'b'));
  EXPECT_EQ(tokenizer->encode("a<|end|>b", SpecialText::kPlain).size(), 9u);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a<|end|>b", SpecialText::kPlain)), "a<|end|>b");
  EXPECT_TRUE(tokenizer->is_special(256));
  EXPECT_FALSE(tokenizer->is_special('a'));
  EXPECT_EQ(tokenizer->id_of("<|end|>"), 256);
  EXPECT_EQ(tokenizer->vocabulary_size(), 257);
}

TEST(Tokenizer, PlainPartsNeverFormASpecialTokenEvenAcrossBorders) {
  const auto tokenizer = load_json(byte_level_json({}, {"<|end|>"}));
  const auto ids = [&](std::vector<TextPart> parts) { return tokenizer->encode_parts(parts); };
  EXPECT_THAT(ids({{"<|end|>", SpecialText::kParse}}), ElementsAre(256));
  EXPECT_EQ(ids({{"<|en", SpecialText::kPlain}, {"d|>", SpecialText::kParse}}).size(), 7u);
  EXPECT_THAT(ids({{"<", SpecialText::kPlain}, {"<|end|>", SpecialText::kParse}}), ElementsAre('<', 256));
  EXPECT_EQ(ids({{"<|end|>", SpecialText::kPlain}, {"<|end|>", SpecialText::kParse}}).size(), 8u);
}

TEST(Tokenizer, PartsAreEncodedAsOneText) {
  const auto tokenizer = load_json(byte_level_json({"a b"}, {"<|end|>"}));
  const std::vector<TextPart> parts = {{"a", SpecialText::kPlain}, {"b", SpecialText::kParse}};
  EXPECT_THAT(tokenizer->encode_parts(parts), ElementsAre(256));
}

TEST(Tokenizer, SkippingSpecialTokensDropsOnlyThem) {
  const auto tokenizer = load_json(byte_level_json({}, {"<|end|>"}, R"([{"id": 257, "content": "<note>", "special": false, "normalized": false}])"));
  const std::vector<TokenId> ids = {'a', 256, 257, 'b'};
  EXPECT_EQ(tokenizer->decode(ids), "a<|end|><note>b");
  EXPECT_EQ(tokenizer->decode(ids, true), "a<note>b");
}

TEST(Tokenizer, BytesThatAreNoTextBecomeReplacementCharacters) {
  const auto tokenizer = load_json(byte_level_json({}, {}));
  EXPECT_EQ(tokenizer->decode(std::vector<TokenId>{0xE6, 0xB0}), "\uFFFD");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a\xFF\xE6\xB0z")), "a\uFFFD\uFFFDz");
}

TEST(Tokenizer, IdsOutsideTheVocabularyAreRefused) {
  const auto tokenizer = load_json(byte_level_json({}, {}));
  EXPECT_THROW(tokenizer->decode(std::vector<TokenId>{256}), InvalidArgument);
  EXPECT_THROW(tokenizer->decode(std::vector<TokenId>{-1}), InvalidArgument);
}

TEST(Tokenizer, ByteFallbackSpellsWhatTheVocabularyLacks) {
  const auto tokenizer = load_json(llama_json({"h i"}));
  const TokenId space = *tokenizer->id_of("\u2581"), hi = *tokenizer->id_of("hi");
  EXPECT_THAT(tokenizer->encode("hi 水"), ElementsAre(space, hi, space, 3 + 0xE6, 3 + 0xB0, 3 + 0xB4));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("hi 水")), "hi 水");
  EXPECT_EQ(tokenizer->specials().bos, 1);
  EXPECT_TRUE(tokenizer->specials().add_bos);
}

TEST(Tokenizer, StreamedTextEqualsTheWhole) {
  for (const auto& tokenizer : {load_json(llama_json({"h i"})), load_json(byte_level_json({"h i"}, {"<|end|>"}))}) {
    const std::string text = "hi 水 and 👩🏽‍🌾 for long enough that history is dropped, 水稻的产量是多少 more words";
    std::string streamed;
    StreamingDecoder decoder(tokenizer);
    for (const TokenId id : tokenizer->encode(text)) {
      const std::string piece = decoder.push(id);
      EXPECT_EQ(piece.find("\uFFFD"), std::string::npos);
      streamed += piece;
    }
    EXPECT_EQ(streamed + decoder.finish(), text);
  }
}

TEST(Tokenizer, StreamGivesUpOnBytesThatNeverBecomeText) {
  const auto tokenizer = load_json(byte_level_json({}, {}));
  StreamingDecoder decoder(tokenizer);
  std::string streamed;
  for (int i = 0; i < 8; ++i) streamed += decoder.push(0xB0);
  streamed += decoder.push('a');
  EXPECT_EQ(streamed + decoder.finish(), tokenizer->decode(std::vector<TokenId>{0xB0, 0xB0, 0xB0, 0xB0, 0xB0, 0xB0, 0xB0, 0xB0, 'a'}));
}

TEST(Tokenizer, LinesAreSplitAtLineFeedsOnly) {
  const auto tokenizer = load_json(byte_level_json({}, {}));
  std::ostringstream out;
  tokenize_lines(*tokenizer, "a\r\n\nb\xE2\x80\xA8", out);
  EXPECT_EQ(out.str(), "[97, 13]\n[]\n[98, 226, 128, 168]\n");
}

TEST(Tokenizer, AMegabyteWithoutASpaceTakesNoQuadraticTime) {
  const auto tokenizer = load_json(byte_level_json({"a a", "aa aa", "a b"}, {}));
  std::string text;
  for (size_t i = 0; i < 1 << 20; ++i) text += i % 7 == 0 ? 'b' : 'a';
  const auto start = std::chrono::steady_clock::now();
  const auto ids = tokenizer->encode(text);
  // A quadratic method needs 1e12 steps, that is hours; the bound only has to tell these apart, sanitizers included.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
  EXPECT_EQ(tokenizer->decode(ids), text);
}

TEST(Tokenizer, ThreadsShareOneTokenizer) {
  const auto tokenizer = load_json(byte_level_json({"t h", "th e", "i n"}, {"<|end|>"}));
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) texts.push_back("the thing in line " + std::to_string(i * 7919) + "<|end|>");
  std::vector<std::vector<TokenId>> expected;
  for (const auto& text : texts) expected.push_back(tokenizer->encode(text));
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round)
        for (size_t i = 0; i < texts.size(); ++i) wrong += tokenizer->encode(texts[i]) != expected[i];
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Tokenizer, ConfigNamesSpecialTokensAndTemplate) {
  const auto tokenizer = load_json(byte_level_json({}, {"<|end|>"}),
                                   R"({"eos_token": "<|end|>", "pad_token": "<pad>", "add_bos_token": false, "chat_template": "T"})");
  EXPECT_EQ(tokenizer->specials().eos, 256);
  EXPECT_EQ(tokenizer->specials().pad, 257);  // in no vocabulary, so it is put behind
  EXPECT_EQ(tokenizer->specials().chat_template, "T");
  EXPECT_FALSE(tokenizer->specials().bos.has_value());
}

TEST(Tokenizer, SentencePieceModelWithoutConfigFollowsTheLibrary) {
  const TempDir folder;
  write_text(folder / "tokenizer.model", sentencepiece_bytes({"\u2581", "h", "i", "hi", "\u2581hi"}));
  const auto tokenizer = load_tokenizer(folder.path());
  EXPECT_THAT(tokenizer->encode("hi"), ElementsAre(263));
  EXPECT_GT(tokenizer->encode("hi</s>").size(), 2u);
  EXPECT_THAT(tokenizer->encode_parts(std::vector<TextPart>{{"hi", SpecialText::kPlain}, {"</s>", SpecialText::kParse}}), ElementsAre(263, 2));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("hi 水")), "hi 水");
  EXPECT_EQ(tokenizer->specials().eos, 2);
}

TEST(Tokenizer, SentencePieceModelWithConfigParsesSpecialTokens) {
  const TempDir folder;
  write_text(folder / "tokenizer.model", sentencepiece_bytes({"\u2581", "h", "i", "hi", "\u2581hi"}));
  write_text(folder / "tokenizer_config.json", R"({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"})");
  const auto tokenizer = load_tokenizer(folder.path());
  EXPECT_THAT(tokenizer->encode("hi</s>hi"), ElementsAre(263, 2, 263));
  EXPECT_THAT(tokenizer->encode("hi</s>", SpecialText::kPlain), ::testing::Not(::testing::Contains(2)));
}

TEST(Tokenizer, ErrorsNameFileAndRemedy) {
  const TempDir folder;
  EXPECT_THAT(complaint_of([&] { load_tokenizer(folder / "absent"); }), HasSubstr("does not exist"));
  EXPECT_THAT(complaint_of([&] { load_tokenizer(folder.path()); }), HasSubstr("tokenizer.json or tokenizer.model"));
  const auto of_json = [](const std::string& json) { return complaint_of([&] { load_json(json); }); };
  EXPECT_THAT(of_json(R"({"model": {"type": "WordPiece", "vocab": {}}})"), HasSubstr("expected BPE"));
  EXPECT_THAT(of_json(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}})"), HasSubstr("not in the vocabulary"));
  EXPECT_THAT(of_json(R"({"model": {"type": "BPE", "vocab": {"a": 2000000000}, "merges": []}})"), HasSubstr("out of range"));
  EXPECT_THAT(of_json(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "normalizer": {"type": "Precompiled"}})"),
              HasSubstr("Lowercase"));
  EXPECT_THAT(of_json(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
                          "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated"}})"),
              HasSubstr("malformed regular expression"));
  EXPECT_THAT(of_json(std::string(100000, '[')), ::testing::Not(HasSubstr("nothing was refused")));
}

TEST(UnicodeRegex, ExplosivePatternsStop) {
  const UnicodeRegex regex("(x+x+)+[yz]", "test");
  EXPECT_THROW(regex.for_each_match(std::string(200, 'x'), [](size_t, size_t) {}), InvalidArgument);
}

TEST(UnicodeRegex, ClassesAreOnigurumasOnes) {
  const auto matches = [](const char* pattern, const std::string& text) {
    size_t count = 0;
    UnicodeRegex(pattern, "test").for_each_match(text, [&](size_t, size_t) { ++count; });
    return count;
  };
  EXPECT_EQ(matches(R"(\s)", "\u180E"), 0u);       // a space to PCRE2, no White_Space
  EXPECT_EQ(matches(R"(\s)", "\u0085\u3000"), 2u);
  EXPECT_EQ(matches(R"(\p{L})", "\U0002EBF0"), 1u);  // Unicode 15.1
  EXPECT_EQ(matches(R"([^\p{L}])", "\U0002EBF0"), 0u);
  EXPECT_EQ(matches(R"(\w)", "²"), 1u);
  EXPECT_THROW(UnicodeRegex("[a&&b]", "test"), InvalidArgument);
  EXPECT_THROW(UnicodeRegex("[a[b]]", "test"), InvalidArgument);
}

TEST(TokenizerFiles, AnAddedTokenFarBeyondTheVocabularyIsRefused) {
  const auto with_id = [](const std::string& id) {
    return testing::load_json(testing::byte_level_json({"t h"}, {}), R"({"added_tokens_decoder": {")" + id + R"(": {"content": "<far>"}}})");
  };
  EXPECT_EQ(with_id("300")->vocabulary_size(), 301);
  for (const char* id : {"2000000", "2147483647"}) EXPECT_THROW(with_id(id), IoError) << id;
}

}  // namespace
}  // namespace graft::data
