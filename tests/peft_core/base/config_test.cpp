#include "peft_core/base/config.h"

#include <gmock/gmock.h>

#include "kernels/base/error.h"
#include "tests/support/temp_dir.h"

namespace graft {

enum class Curve { kFlat, kCosine };
inline EnumNames<Curve> config_names(Curve) { return {{"flat", Curve::kFlat}, {"cosine", Curve::kCosine}}; }

namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;

struct MethodSection {
  std::string name = "lora";
  int64_t rank = 16;
  double alpha = 32;
  std::vector<std::string> targets = {"all-linear"};
  std::map<std::string, int64_t> rank_pattern;
  std::optional<double> ratio;
  bool use_rslora = false;

  template <class V>
  void visit(V& v) {
    v("name", name, "which method");
    v("rank", rank, "inner size of the update");
    v("alpha", alpha, "scale");
    v("targets", targets, "layers that get an adapter");
    v("rank_pattern", rank_pattern, "rank by layer");
    v("ratio", ratio, "learning rate ratio");
    v("use_rslora", use_rslora, "scale by the square root of the rank");
  }
};

struct TrainSection {
  int64_t max_steps = 100;
  double learning_rate = 2e-4;
  Curve schedule = Curve::kCosine;
  std::vector<double> betas = {0.9, 0.999};

  template <class V>
  void visit(V& v) {
    v("max_steps", max_steps, "optimizer steps");
    v("learning_rate", learning_rate, "peak");
    v("schedule", schedule, "shape of the learning rate");
    v("betas", betas, "AdamW");
  }
};

struct RunSettings {
  MethodSection method;
  TrainSection train;

  template <class V>
  void visit(V& v) {
    v("method", method, "what is trained");
    v("train", train, "how");
  }
};

template <class E>
std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const E& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

std::string refusal(const std::string& text) {
  return message_of<InvalidArgument>([&] { read_config<RunSettings>(ConfigNode::parse(text, "run.yaml")); });
}

TEST(Config, ReadsYamlIntoPlainStructs) {
  const auto root = ConfigNode::parse(
      "# a run\n"
      "method:\n"
      "  name: \"lora\"\n"
      "  rank: 8\n"
      "  targets: [q_proj, v_proj]\n"
      "  rank_pattern: {layers.0.q_proj: 4, k_proj: 2}\n"
      "  ratio: 16\n"
      "  use_rslora: yes\n"
      "train: {learning_rate: 1e-3, schedule: flat, betas: [0.8, 0.95]}\n",
      "run.yaml");
  const auto settings = read_config<RunSettings>(root);
  EXPECT_EQ(settings.method.rank, 8);
  EXPECT_EQ(settings.method.alpha, 32) << "what is not written keeps its default";
  EXPECT_THAT(settings.method.targets, ElementsAre("q_proj", "v_proj"));
  EXPECT_THAT(settings.method.rank_pattern, ElementsAre(Pair("k_proj", 2), Pair("layers.0.q_proj", 4)));
  EXPECT_EQ(settings.method.ratio, 16.0);
  EXPECT_TRUE(settings.method.use_rslora);
  EXPECT_EQ(settings.train.learning_rate, 1e-3);
  EXPECT_EQ(settings.train.schedule, Curve::kFlat);
  EXPECT_THAT(settings.train.betas, ElementsAre(0.8, 0.95));
  EXPECT_EQ(read_config<MethodSection>(root, "method").rank, 8) << "one section can be read alone";
}

TEST(Config, ReadsJson) {
  const auto root = ConfigNode::parse(R"({"method": {"rank": 4, "targets": ["a"]}, "train": {"learning_rate": 0.003}})", "run.json");
  const auto settings = read_config<RunSettings>(root);
  EXPECT_EQ(settings.method.rank, 4);
  EXPECT_EQ(settings.train.learning_rate, 0.003);
}

TEST(Config, EmptyFilesAndEmptySectionsMeanDefaults) {
  EXPECT_EQ(read_config<RunSettings>(ConfigNode::parse("", "a")).method.rank, 16);
  EXPECT_EQ(read_config<RunSettings>(ConfigNode::parse("method:\ntrain:\n", "a")).train.max_steps, 100);
}

TEST(Config, OneValueIsAListOfOne) {
  EXPECT_THAT(read_config<MethodSection>(ConfigNode::parse("targets: q_proj", "a")).targets, ElementsAre("q_proj"));
}

TEST(Config, OverridesReplaceAndKeepTheirOrigin) {
  auto root = ConfigNode::parse("method: {rank: 8, targets: [a, b]}", "run.yaml");
  root.set("method.rank=64");
  root.set("method.targets=[c]");
  root.set("method.rank_pattern.q_proj=2");
  root.set("train.schedule=flat");
  root.set("method.name=a=b");
  const auto settings = read_config<RunSettings>(root);
  EXPECT_EQ(settings.method.rank, 64);
  EXPECT_THAT(settings.method.targets, ElementsAre("c"));
  EXPECT_THAT(settings.method.rank_pattern, ElementsAre(Pair("q_proj", 2)));
  EXPECT_EQ(settings.train.schedule, Curve::kFlat);
  EXPECT_EQ(settings.method.name, "a=b");
  root.set("method.rank=lots");
  EXPECT_THAT(message_of<InvalidArgument>([&] { read_config<RunSettings>(root); }),
              AllOf(HasSubstr("method.rank"), HasSubstr("whole number"), HasSubstr("lots"), Not(HasSubstr("run.yaml"))));
}

TEST(Config, MalformedOverridesAreRefused) {
  ConfigNode root;
  for (const auto* text : {"method.rank", "=5", "method..rank=1", ".rank=1", "rank.=1", "a=[1", "a=\"x", "a=*b", "a={"}) {
    EXPECT_THROW(root.set(text), InvalidArgument) << text;
  }
  root.set("train.max_steps=5");
  EXPECT_THROW(root.set("train.max_steps.more=5"), InvalidArgument);
}

TEST(Config, UnknownKeysNameThePlaceTheNearestAndAllKnown) {
  const auto line = refusal("method:\n  rank: 4\n  alpah: 3\n");
  EXPECT_THAT(line, AllOf(HasSubstr("run.yaml:3"), HasSubstr("method.alpah"), HasSubstr("did you mean \"alpha\"")));
  EXPECT_THAT(line, HasSubstr("name, rank, alpha, targets, rank_pattern, ratio, use_rslora"));
  EXPECT_THAT(refusal("metod: {rank: 3}"), AllOf(HasSubstr("run.yaml:1"), HasSubstr("metod"), HasSubstr("method, train")));
  EXPECT_THAT(refusal("train: {zzzzzzzzzz: 1}"), Not(HasSubstr("did you mean"))) << "nothing is near";
}

TEST(Config, WrongTypesNameExpectedGotAndPlace) {
  EXPECT_THAT(refusal("method:\n  rank: four\n"), AllOf(HasSubstr("run.yaml:2"), HasSubstr("method.rank"), HasSubstr("a whole number"), HasSubstr("four")));
  EXPECT_THAT(refusal("method: {rank: 1.5}"), HasSubstr("a whole number"));
  EXPECT_THAT(refusal("method: {rank: 99999999999999999999}"), HasSubstr("a whole number"));
  EXPECT_THAT(refusal("method: {rank: \"8\"}"), HasSubstr("a whole number"));
  EXPECT_THAT(refusal("method: {rank: }"), HasSubstr("nothing"));
  EXPECT_THAT(refusal("method: {rank: [8]}"), HasSubstr("a list"));
  EXPECT_THAT(refusal("method: {alpha: .nan}"), HasSubstr("a number"));
  EXPECT_THAT(refusal("method: {alpha: 1e999}"), HasSubstr("a number"));
  EXPECT_THAT(refusal("method: {use_rslora: 1}"), HasSubstr("true or false"));
  EXPECT_THAT(refusal("method: {name: [a]}"), HasSubstr("text"));
  EXPECT_THAT(refusal("method: {targets: {a: b}}"), HasSubstr("a list"));
  EXPECT_THAT(refusal("method: {rank_pattern: {q: x}}"), HasSubstr("method.rank_pattern.q"));
  EXPECT_THAT(refusal("method: 3"), HasSubstr("section"));
  EXPECT_THAT(refusal("train: {schedule: cosinus}"), AllOf(HasSubstr("cosinus"), HasSubstr("flat, cosine")));
}

TEST(Config, TextThatIsNoConfigurationIsRefused) {
  EXPECT_THAT(refusal("a: [1\nb: 2\n"), HasSubstr("run.yaml:"));
  EXPECT_THAT(refusal("just words"), HasSubstr("sections"));
  EXPECT_THAT(refusal("method: {rank: 1}\n---\nmethod: {rank: 2}"), HasSubstr("more than one"));
  EXPECT_THAT(refusal("method:\n  rank: 1\n  rank: 2\n"), AllOf(HasSubstr("twice"), HasSubstr("run.yaml:3")));
  EXPECT_THAT(refusal("method: {? [a, b] : 1}"), HasSubstr("key"));
  EXPECT_THROW(ConfigNode::parse(std::string(100'000, '['), "deep"), InvalidArgument);
  EXPECT_THROW(ConfigNode::parse(std::string("\0\x01\xff", 3), "binary"), InvalidArgument);
}

TEST(Config, AliasesCannotMultiplyWithoutEnd) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const auto before = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
    for (int j = 1; j < 10; ++j) text += ", " + before;
    text += "]\n";
  }
  EXPECT_THROW(ConfigNode::parse(text, "bomb"), InvalidArgument);  // 10^12 values
}

TEST(Config, AMissingFileIsAnIoError) {
  testing::TempDir dir;
  EXPECT_THROW(ConfigNode::load(dir / "absent.yaml"), IoError);
  testing::write_text(dir / "run.yaml", "train:\n  max_steps: many\n");
  EXPECT_THAT(message_of<InvalidArgument>([&] { read_config<RunSettings>(ConfigNode::load(dir / "run.yaml")); }), HasSubstr("run.yaml:2"));
}

TEST(Config, WrittenConfigurationReadsBackTheSame) {
  RunSettings settings;
  settings.method.name = "a \"strange\"\\ name:\n# ü\x01";
  settings.method.targets = {"null", "true", "q_proj", "", "*", "8", "- x"};
  settings.method.rank_pattern = {{"layers.0", 3}, {"a: b", 4}};
  settings.method.ratio = 0.1;
  settings.train.learning_rate = 1.0 / 3.0;
  settings.train.betas = {1e-300, 12345678.9};
  const auto text = write_config(settings);
  const auto again = read_config<RunSettings>(ConfigNode::parse(text, "written"));
  EXPECT_EQ(again.method.name, settings.method.name);
  EXPECT_EQ(again.method.targets, settings.method.targets);
  EXPECT_EQ(again.method.rank_pattern, settings.method.rank_pattern);
  EXPECT_EQ(again.method.ratio, settings.method.ratio);
  EXPECT_EQ(again.train.learning_rate, settings.train.learning_rate);
  EXPECT_EQ(again.train.betas, settings.train.betas);
  EXPECT_EQ(write_config(again), text);
}

TEST(Config, WritesInDeclaredOrderWithTheDocs) {
  EXPECT_EQ(write_config(TrainSection{}, "train"),
            "train:\n"
            "  max_steps: 100                    # optimizer steps\n"
            "  learning_rate: 0.0002             # peak\n"
            "  schedule: cosine                  # shape of the learning rate\n"
            "  betas: [0.9, 0.999]               # AdamW\n");
}

TEST(Config, HelpListsEachKeyWithItsDefault) {
  const auto help = config_help<RunSettings>();
  EXPECT_THAT(help, HasSubstr("  method.rank=16                    inner size of the update\n"));
  EXPECT_THAT(help, HasSubstr("  method.rank_pattern={}            rank by layer\n"));
}

TEST(Config, SectionsThatNobodyReadsAreNamedWithTheNearest) {
  const auto root = ConfigNode::parse("{train: {}, bse: {}}", "run.yaml");
  EXPECT_NO_THROW(expect_sections(root, {"train", "bse"}));
  EXPECT_THAT(message_of<InvalidArgument>([&] { expect_sections(root, {"base", "train"}); }),
              AllOf(HasSubstr("run.yaml"), HasSubstr("'bse'"), HasSubstr("did you mean \"base\"")));
}

TEST(Config, RangesNameTheKey) {
  EXPECT_NO_THROW(expect_range("train.warmup_ratio", 1.0, 0.0, 1.0));
  EXPECT_THAT(message_of<InvalidArgument>([] { expect_range("train.warmup_ratio", 1.5, 0.0, 1.0); }),
              AllOf(HasSubstr("train.warmup_ratio"), HasSubstr("0 to 1"), HasSubstr("1.5")));
}

}  // namespace
}  // namespace graft
