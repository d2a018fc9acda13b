#include "pipelines/cloud/small_clip.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "data_loaders/text/clip_tokenizer_writer.h"
#include "kernels/base/error.h"
#include "peft_core/checkpoint/clip_files.h"
#include "pipelines/cloud/pretrain_task.h"
#include "pipelines/cloud/shapes/shapes.h"
#include "tests/support/temp_dir.h"

namespace graft::pipelines {
namespace {

constexpr int64_t kVocabulary = 64, kEnd = 63;

/// Sizes that differ from one another, so that a swap shows.
SmallClipConfig tiny() {
  return {.image_size = 32, .patch_size = 8, .width = 48, .layers = 2, .heads = 3, .text_width = 32, .text_layers = 2, .text_heads = 2,
          .positions = 16, .joint = 24};
}

const peft::TextIds kTexts = {{62, 5, 7, 63}, {62, 63}, {62, 9, 1, 2, 3, 4, 63}};

at::Tensor pictures(int64_t count) {
  at::manual_seed(3);
  return at::rand({count, 3, 32, 32});
}

/// At the start many parameters are 0 or 1: a mix-up of two of them would not show.
void shake(const SmallClip& clip) {
  const at::NoGradGuard no_gradient;
  at::manual_seed(4);
  for (const auto& [name, tensor] : clip.parameters()) tensor.add_(at::randn_like(tensor), 0.1);
}

TEST(SmallClip, AWrittenFolderIsTheSameModel) {
  const testing::TempDir folder;
  const SmallClip clip(clip_config(tiny(), kVocabulary, kEnd), 5);
  shake(clip);
  clip.write(folder.path());
  const auto files = peft::open_clip(folder.path());
  const peft::ClipModel read(files.config, *files.folder.weights, {});
  const at::NoGradGuard no_gradient;
  // Unit vectors, fp32, sums of at most 192 products in another order: some 1e-6; the logits are their products times a scale near 14.
  const auto images = pictures(5);
  const auto a = peft::unit_rows(clip.image_features(images)), b = peft::unit_rows(read.image_features(images, {}));
  const auto c = peft::unit_rows(clip.text_features(kTexts)), d = peft::unit_rows(read.text_features(kTexts, {}));
  EXPECT_LT((a - b).abs().max().item<double>(), 1e-5);
  EXPECT_LT((c - d).abs().max().item<double>(), 1e-5);
  EXPECT_LT((clip.scale() * at::mm(a, c.t()) - read.scale() * at::mm(b, d.t())).abs().max().item<double>(), 1e-4);
  EXPECT_GT((c[0] - c[2]).abs().max().item<double>(), 1e-2);  // and the texts tell apart at all
}

TEST(SmallClip, AnInterruptedWriteLeavesNoModel) {
  const testing::TempDir folder;
  std::filesystem::create_directories(folder / "model.safetensors");  // cannot be replaced by a file
  const SmallClip clip(clip_config(tiny(), kVocabulary, kEnd), 5);
  EXPECT_THROW(clip.write(folder.path()), IoError);
  EXPECT_FALSE(std::filesystem::exists(folder / "config.json"));
}

TEST(SmallClip, TheSeedFixesTheStart) {
  const SmallClip a(clip_config(tiny(), kVocabulary, kEnd), 5), b(clip_config(tiny(), kVocabulary, kEnd), 5), c(clip_config(tiny(), kVocabulary, kEnd), 6);
  const auto* name = "vision_model.encoder.layers.1.mlp.fc1.weight";
  EXPECT_TRUE(at::equal(a.parameters().at(name), b.parameters().at(name)));
  EXPECT_FALSE(at::equal(a.parameters().at(name), c.parameters().at(name)));
  const auto& other = a.parameters().at("vision_model.encoder.layers.0.mlp.fc1.weight");
  EXPECT_FALSE(at::equal(a.parameters().at(name), other));
  EXPECT_NEAR(other.std().item<double>(), 1 / std::sqrt(2.0 * 48), 0.01);  // 9,216 numbers: their deviation is known to 0.7 %
  EXPECT_NEAR(a.scale().item<double>(), 1 / 0.07, 1e-4);
}

TEST(SmallClip, TheScaleStaysAtAHundredOrLess) {
  SmallClip clip(clip_config(tiny(), kVocabulary, kEnd), 5);
  const auto scale = clip.parameters().at("logit_scale");
  {
    const at::NoGradGuard no_gradient;
    scale.fill_(6);
  }
  clip.limit_scale();
  EXPECT_NEAR(clip.scale().item<double>(), 100, 1e-3);
}

TEST(SmallClip, WrongInputIsRefused) {
  const SmallClip clip(clip_config(tiny(), kVocabulary, kEnd), 5);
  EXPECT_THROW(clip.image_features(at::rand({1, 3, 40, 40})), InvalidArgument);
  EXPECT_THROW(clip.text_features({}), InvalidArgument);
  EXPECT_THROW(clip.text_features({std::vector<int32_t>(17, 63)}), InvalidArgument);
  auto odd = tiny();
  odd.width = 50;
  EXPECT_THROW(clip_config(odd, kVocabulary, kEnd), InvalidArgument);
}

TEST(ManyPositivesLoss, EqualsItsDefinition) {
  const auto logits = at::tensor({2.0, 0.5, -1.0, 0.0, 1.0, 3.0}, at::kDouble).view({2, 3});
  const auto fits = at::tensor({1.0, 1.0, 0.0, 0.0, 1.0, 1.0}, at::kDouble).view({2, 3});
  const auto p = logits.exp();
  double expected = 0;
  for (int64_t i = 0; i < 2; ++i)
    for (int64_t k = 0; k < 3; ++k) {
      const double fit = fits[i][k].item<double>(), value = p[i][k].item<double>();
      expected -= fit / fits[i].sum().item<double>() * std::log(value / p[i].sum().item<double>());
      expected -= fit / fits.select(1, k).sum().item<double>() * std::log(value / p.select(1, k).sum().item<double>());
    }
  EXPECT_NEAR(many_positives_loss(logits, fits).item<double>(), expected / 2, 1e-12);
}

TEST(ManyPositivesLoss, WithOneTextForEachImageIsClipsOwn) {
  at::manual_seed(1);
  const auto logits = at::randn({7, 7}, at::kDouble), targets = at::arange(7);
  const auto clips = (at::cross_entropy_loss(logits, targets, {}, at::Reduction::Sum) + at::cross_entropy_loss(logits.t(), targets, {}, at::Reduction::Sum)) / 2;
  EXPECT_NEAR(many_positives_loss(logits, at::eye(7, at::kDouble)).item<double>(), clips.item<double>(), 1e-12);
}

/// A task with its tokenizer in a folder of its own.
struct Fixture {
  Fixture() {
    data::write_small_clip_tokenizer(folder.path(), caption_words(), 24);
    tokenizer = data::load_tokenizer(folder.path());
    auto sizes = tiny();
    sizes.positions = 24;
    clip = std::make_unique<SmallClip>(clip_config(sizes, tokenizer->vocabulary_size(), *tokenizer->specials().eos), 2);
    task = std::make_unique<PretrainTask>(*clip, tokenizer, ShapesConfig{.points = 200, .views = 2}, PretrainConfig{.batch_size = 12, .seed = 2, .held_out = 1});
  }
  testing::TempDir folder;
  std::shared_ptr<const data::Tokenizer> tokenizer;
  std::unique_ptr<SmallClip> clip;
  std::unique_ptr<PretrainTask> task;
};

TEST(Pretrain, TextsBeginAndEndAsClipWantsThem) {
  const Fixture f;
  const auto ids = clip_ids(*f.tokenizer, "a depth map of a tree", 24);
  EXPECT_EQ(ids.size(), 8u);  // all its words are tokens
  EXPECT_EQ(ids.front(), *f.tokenizer->specials().bos);
  EXPECT_EQ(ids.back(), *f.tokenizer->specials().eos);
  const auto cut = clip_ids(*f.tokenizer, std::string(100, 'q'), 24);
  EXPECT_EQ(cut.size(), 24u);
  EXPECT_EQ(cut.back(), *f.tokenizer->specials().eos);
}

TEST(Pretrain, GradientsReachEveryParameterAndAStepIsAPureFunction) {
  Fixture f, g;
  const auto a = f.task->accumulate_gradients(3, 0, 1.0 / 24), b = g.task->accumulate_gradients(3, 0, 1.0 / 24);
  EXPECT_EQ(a.loss_sum, b.loss_sum);
  EXPECT_EQ(a.target_count, f.task->target_count(3, 0));
  for (const auto& [name, tensor] : f.clip->parameters()) {
    ASSERT_TRUE(tensor.grad().defined()) << name;
    EXPECT_TRUE(at::equal(tensor.grad(), g.clip->parameters().at(name).grad())) << name;
    // Softmax does not see a key's bias: its gradient is rounding alone.
    const double smallest = name.ends_with("k_proj.bias") ? 0 : 1e-7;
    EXPECT_GE(tensor.grad().abs().max().item<double>(), smallest) << name;
  }
  EXPECT_NE(f.task->accumulate_gradients(4, 0, 1).loss_sum, a.loss_sum);  // other objects
}

TEST(Pretrain, EveryParameterIsInExactlyOneGroup) {
  Fixture f;
  std::map<std::string, int> seen;
  for (const auto& group : f.task->trainable_parameters())
    for (const auto& [name, tensor] : group.parameters) ++seen[name];
  EXPECT_EQ(seen.size(), f.clip->parameters().size());
  for (const auto& [name, times] : seen) EXPECT_EQ(times, 1) << name;
}

TEST(Pretrain, TwentyStepsLowerTheLossAndAResumedRunRepeatsThem) {
  const auto trained = [](const std::filesystem::path& folder, int64_t stop_at) {
    TrainReport report;
    for (const int64_t steps : {stop_at, int64_t{20}}) {
      Fixture f;  // a new process would start so
      auto options = train_options(PretrainConfig{.max_steps = steps, .learning_rate = 2e-3, .warmup_ratio = 0});
      options.schedule = Schedule::kConstant;  // so that the shorter run is the longer one's beginning
      options.run_dir = folder, options.resume = true;
      report = train(*f.task, options, {});
    }
    return report;
  };
  const testing::TempDir whole, parts;
  const auto a = trained(whole.path(), 20), b = trained(parts.path(), 9);
  EXPECT_LT(b.last_loss, b.first_loss - 0.3);  // nats; ln 24 = 3.2 is chance
  EXPECT_EQ(a.last_loss, b.last_loss);
  EXPECT_EQ(testing::read_text(whole / "model.safetensors"), testing::read_text(parts / "model.safetensors"));
}

TEST(Pretrain, EvaluationGivesShares) {
  Fixture f;
  const auto metrics = f.task->evaluate();
  for (const auto* name : {"held_out_accuracy", "held_out_scan_accuracy"}) {
    EXPECT_GE(metrics.at(name), 0);
    EXPECT_LE(metrics.at(name), 1);
  }
  EXPECT_EQ(metrics, f.task->evaluate());
}

}  // namespace
}  // namespace graft::pipelines
