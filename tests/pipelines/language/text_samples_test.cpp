#include "pipelines/language/text_samples.h"

#include <gmock/gmock.h>

#include <sstream>

#include "peft_core/base/log.h"
#include "tests/data_loaders/text/small_tokenizers.h"
#include "tests/support/temp_dir.h"

namespace graft::pipelines {
namespace {

namespace fs = std::filesystem;
using data::Record;
using graft::testing::read_text;
using graft::testing::TempDir;
using graft::testing::write_text;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

/// Counts how often it is asked to work.
class CountingTokenizer final : public data::Tokenizer {
 public:
  explicit CountingTokenizer(std::shared_ptr<const Tokenizer> inner) : inner_(std::move(inner)) { specials_ = inner_->specials(); }
  std::vector<data::TokenId> encode(std::string_view text, data::SpecialText special) const override {
    return ++calls, inner_->encode(text, special);
  }
  std::vector<data::TokenId> encode_parts(std::span<const data::TextPart> parts) const override { return ++calls, inner_->encode_parts(parts); }
  std::string decode(std::span<const data::TokenId> ids, bool skip) const override { return inner_->decode(ids, skip); }
  int64_t vocabulary_size() const override { return inner_->vocabulary_size(); }
  std::optional<data::TokenId> id_of(std::string_view token) const override { return inner_->id_of(token); }
  bool is_special(data::TokenId id) const override { return inner_->is_special(id); }

  mutable int calls = 0;

 private:
  std::shared_ptr<const Tokenizer> inner_;
};

Record dialogue(const std::string& question, const std::string& answer) {
  Record record;
  record.turns = {{"user", question}, {"assistant", answer}};
  return record;
}

Record document(const std::string& text) {
  Record record;
  record.text = text;
  return record;
}

/// All that goes into encoding, and the result with the number of calls that it took.
class EncodeRecordsTest : public ::testing::Test {
 protected:
  EncodeRecordsTest() {
    write_text(model_ / "tokenizer.json", graft::testing::byte_level_json({"t h", "th e"}, {"<|im_start|>", "<|im_end|>"}));
    write_text(model_ / "tokenizer_config.json", R"({"eos_token": "<|im_end|>"})");
    config_.chat_template = "chatml";
    config_.cache = false;  // the tests' own folder stands in
  }

  EncodedRecords encode() {
    LanguageModel language;
    const auto tokenizer = std::make_shared<CountingTokenizer>(data::load_tokenizer(model_.path()));
    language.tokenizer = tokenizer;
    language.files.path = model_.path();
    auto encoding = TextEncoding::of(language, config_, records_);
    if (cached_) encoding.cache = data::TokenCache(cache_.path());
    std::ostringstream log;
    EncodedRecords encoded;
    {
      const LogToStream to(log);
      encoded = encode_records(*tokenizer, encoding, records_, max_length_);
    }
    log_ = log.str();
    calls_ = tokenizer->calls;
    return encoded;
  }

  std::vector<fs::path> kept() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(cache_.path())) files.push_back(entry.path());
    return files;
  }

  TempDir model_, cache_;
  data::DataConfig config_;
  bool cached_ = true;
  std::vector<Record> records_{dialogue("the dose?", "20 kg"), document("the thatch the thatch the thatch the"), dialogue("why?", "the soil")};
  int64_t max_length_ = 32;
  std::string log_;
  int calls_ = 0;
};

void expect_same(const EncodedRecords& a, const EncodedRecords& b) {
  ASSERT_EQ(a.samples.size(), b.samples.size());
  EXPECT_THAT(a.samples.ids(), ::testing::ElementsAreArray(b.samples.ids()));
  EXPECT_THAT(a.samples.learn(), ::testing::ElementsAreArray(b.samples.learn()));
  EXPECT_THAT(a.samples.offsets(), ::testing::ElementsAreArray(b.samples.offsets()));
  EXPECT_EQ(a.samples_of, b.samples_of);
  EXPECT_EQ(a.fit.samples, b.fit.samples);
  EXPECT_EQ(a.fit.truncated, b.fit.truncated);
  EXPECT_EQ(a.fit.split, b.fit.split);
  EXPECT_EQ(a.fit.pieces, b.fit.pieces);
  EXPECT_EQ(a.fit.dropped, b.fit.dropped);
  EXPECT_EQ(a.fit.lost_tokens, b.fit.lost_tokens);
}

TEST_F(EncodeRecordsTest, SamplesStandInTheOrderOfTheRecords) {
  cached_ = false;
  max_length_ = 25;
  const auto encoded = encode();
  EXPECT_THAT(encoded.samples_of, ElementsAre(0, 1, 1));  // the questions with their marks take 26 and 23 tokens
  EXPECT_EQ(encoded.fit.dropped, 2);  // the first dialogue, and the last token of the document by itself
  EXPECT_EQ(encoded.samples.length(0), 25);
  max_length_ = 6;
  EXPECT_THAT(encode().samples_of, ElementsAre(0, 5, 0));  // the document has 1 + 3 * 8 tokens and the end
  EXPECT_EQ(kept().size(), 0u);
}

TEST_F(EncodeRecordsTest, TheSecondRunTokenisesNothingAndGivesTheSame) {
  for (const int64_t length : {6, 32, 200}) {
    max_length_ = length;
    const auto first = encode();
    EXPECT_GT(calls_, 0);
    EXPECT_THAT(log_, Not(HasSubstr("taken from")));
    const auto second = encode();
    EXPECT_EQ(calls_, 0);
    EXPECT_THAT(log_, HasSubstr("taken from"));
    expect_same(second, first);
    cached_ = false;
    expect_same(encode(), first);
    cached_ = true;
  }
  EXPECT_EQ(kept().size(), 3u);
}

TEST_F(EncodeRecordsTest, EveryChangeOfAnInputMissesTheCache) {
  const std::vector<std::pair<std::string, std::function<void()>>> changes = {
      {"nothing yet", [] {}},
      {"an answer", [&] { records_[0].turns[1].content = "21 kg"; }},
      {"a border between texts", [&] { records_[0] = dialogue("the dose?2", "1 kg"); }},
      {"a document", [&] { records_[1].text += "."; }},
      {"the order", [&] { std::swap(records_[0], records_[2]); }},
      {"one more record", [&] { records_.push_back(dialogue("q", "a")); }},
      {"a turn more", [&] { records_[0].turns.insert(records_[0].turns.begin(), {"system", "S"}); }},
      {"max_length", [&] { max_length_ = 40; }},
      {"loss_on", [&] { config_.loss_on = "all"; }},
      {"system", [&] { config_.system = "You help farmers."; }},
      {"thinking", [&] { config_.thinking = "on"; }},
      {"template", [&] { config_.chat_template = "plain"; }},
      {"the tokenizer", [&] { write_text(model_ / "tokenizer.json", graft::testing::byte_level_json({"t h"}, {"<|im_start|>", "<|im_end|>"})); }},
      {"its config", [&] { write_text(model_ / "tokenizer_config.json", R"({"eos_token": "<|im_start|>"})"); }},
      {"a file beside it", [&] { write_text(model_ / "chat_template.jinja", "{{ messages }}"); }},
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    changes[i].second();
    encode();
    EXPECT_GT(calls_, 0) << changes[i].first;
    EXPECT_EQ(kept().size(), i + 1) << changes[i].first;
    encode();
    EXPECT_EQ(calls_, 0) << changes[i].first;
  }
}

TEST_F(EncodeRecordsTest, ADamagedFileIsReportedAndMadeAgain) {
  const auto good = encode();
  const auto file = kept().at(0);
  const auto bytes = read_text(file);
  for (const auto& damaged : {bytes.substr(0, bytes.size() / 2), bytes.substr(0, bytes.size() - 3) + "abc", std::string()}) {
    write_text(file, damaged);
    expect_same(encode(), good);
    EXPECT_GT(calls_, 0);
    EXPECT_THAT(log_, HasSubstr("is not usable"));
    expect_same(encode(), good);
    EXPECT_EQ(calls_, 0);
    EXPECT_EQ(read_text(file), bytes);
  }
}

TEST_F(EncodeRecordsTest, TheSettingSwitchesItOn) {
  LanguageModel language;
  language.tokenizer = data::load_tokenizer(model_.path());
  EXPECT_FALSE(TextEncoding::of(language, config_, records_).cache.is_somewhere());
  config_.cache = true;
  EXPECT_TRUE(TextEncoding::of(language, config_, records_).cache.is_somewhere());
}

}  // namespace
}  // namespace graft::pipelines
