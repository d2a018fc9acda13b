#include "pipelines/cloud/adaptation_task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include "kernels/base/error.h"
#include "pipelines/cloud/cloud_views.h"
#include "pipelines/cloud/view_choice.h"
#include "pipelines/train.h"
#include "tests/pipelines/cloud/tiny_clip.h"
#include "tests/support/temp_dir.h"

namespace graft::pipelines {
namespace {

using graft::testing::letter_encoder;
using graft::testing::shape_clouds;
using graft::testing::TempDir;
using graft::testing::tiny_clip;

CloudConfig config_of(CloudMode mode, Part prompts = Part::kBoth) {
  CloudConfig config;
  config.mode = mode;
  config.prompts = prompts;
  config.points = 16;
  config.text = "a {}.";
  config.description = "the {}.";
  return config;
}

CloudSet without_labels(CloudSet set) {
  set.labels.clear(), set.classes.clear();
  return set;
}

AdaptationOptions options_of(LossConfig loss = {}) {
  loss.prototype_every = 2;
  return {.loss = loss, .plan = {.batch_size = 6, .max_steps = 100, .seed = 3}, .evaluation_batch = 5, .origin = {}};
}

TrainOptions steps(int64_t count, const std::filesystem::path& run = {}, bool resume = false) {
  return {.total_steps = count, .learning_rate = 5e-3, .schedule = Schedule::kConstant, .warmup_ratio = 0, .run_dir = run, .resume = resume};
}

/// A model with LoRA everywhere, prompts, and a task on source and target.
struct Learner {
  explicit Learner(const CloudConfig& config, const LossConfig& loss = {}, bool adapters = true, bool with_target = true)
      : model(tiny_clip()), clip(*model, letter_encoder(), {"ball", "board", "pole"}, config, 1) {
    if (adapters) attachment = peft::find_method("lora").attach(model->places(), ConfigNode::parse("{rank: 2}", "test"), peft::AttachContext(1));
    task = std::make_unique<AdaptationTask>(clip, attachment.get(), shape_clouds(4, 1), with_target ? without_labels(shape_clouds(4, 2, 0.3)) : CloudSet{},
                                            shape_clouds(2, 5), options_of(loss));
  }
  peft::NamedTensors trained() const {
    peft::NamedTensors all;
    for (const auto& group : task->trainable_parameters())
      for (const auto& leaf : group.parameters) all.push_back(leaf);
    return all;
  }
  std::vector<at::Tensor> copies() const {
    std::vector<at::Tensor> all;
    for (const auto& [name, leaf] : trained()) all.push_back(leaf.detach().clone());
    return all;
  }

  std::unique_ptr<peft::ClipModel> model;
  AdaptedClip clip;
  std::unique_ptr<peft::Attachment> attachment;
  std::unique_ptr<AdaptationTask> task;
};

class Modes : public ::testing::TestWithParam<CloudMode> {};

// train() itself fails for a trainable tensor whose gradient is missing or stays zero.
TEST_P(Modes, EveryTrainableTensorIsReachedAndChangesAndTheModelDoesNot) {
  const Learner setup(config_of(GetParam()));
  std::vector<at::Tensor> frozen;
  for (const auto& one : setup.task->frozen_tensors()) frozen.push_back(one.tensor.clone());
  const auto before = setup.copies();
  train(*setup.task, steps(4));
  const auto trained = setup.trained();
  for (size_t i = 0; i < trained.size(); ++i) EXPECT_FALSE(at::equal(before[i], trained[i].second)) << trained[i].first;
  const auto after = setup.task->frozen_tensors();
  ASSERT_GT(frozen.size(), 40u);
  for (size_t i = 0; i < after.size(); ++i) EXPECT_TRUE(at::equal(frozen[i], after[i].tensor)) << after[i].name;
}

TEST_P(Modes, AResumedRunHasTheSameBits) {
  const TempDir whole, halves;
  Learner once(config_of(GetParam()));
  train(*once.task, steps(5, whole.path()));
  {
    Learner first(config_of(GetParam()));
    train(*first.task, steps(3, halves.path()));
  }
  Learner second(config_of(GetParam()));
  train(*second.task, steps(5, halves.path(), /*resume=*/true));
  const auto a = once.copies(), b = second.copies();
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << once.trained()[i].first;
  EXPECT_EQ(once.task->evaluate(), second.task->evaluate());
}

INSTANTIATE_TEST_SUITE_P(All, Modes, ::testing::Values(CloudMode::kOurs, CloudMode::kPaper, CloudMode::kReleased));

TEST(AdaptationTask, TwoEvaluationsAreEqualAndChangeNothing) {
  const Learner setup(config_of(CloudMode::kPaper));
  train(*setup.task, steps(2));
  const auto before = setup.copies();
  const auto statistics = setup.clip.statistics().front().second.clone();
  const auto first = setup.task->evaluate();
  EXPECT_EQ(first, setup.task->evaluate());
  EXPECT_TRUE(first.contains("target_entropy") && first.contains("held_out_accuracy"));
  EXPECT_TRUE(at::equal(statistics, setup.clip.statistics().front().second));
  const auto after = setup.copies();
  for (size_t i = 0; i < after.size(); ++i) EXPECT_TRUE(at::equal(before[i], after[i]));
}

TEST(AdaptationTask, RefusesATargetWithLabels) {
  Learner setup(config_of(CloudMode::kOurs));
  EXPECT_THROW(AdaptationTask(setup.clip, nullptr, shape_clouds(1, 1), shape_clouds(1, 2), {}, options_of()), InvalidArgument);
}

TEST(AdaptationTask, LossesFollowTheirSwitches) {
  LossConfig only;
  only.confidence = only.transport = only.prototype = only.orthogonality = 0;
  const auto names = [](const LossConfig& loss, bool with_target) {
    Learner setup(config_of(CloudMode::kOurs), loss, true, with_target);
    setup.task->accumulate_gradients(0, 0, 1);
    std::vector<std::string> parts;
    for (const auto& [name, value] : setup.task->loss_parts()) parts.push_back(name);
    return parts;
  };
  using ::testing::ElementsAre;
  EXPECT_THAT(names(only, true), ElementsAre("ce"));
  EXPECT_THAT(names({}, false), ElementsAre("ce", "confidence_source", "orthogonality_source"));
  LossConfig all;
  all.entropy = all.diversity = all.anchor = 1;
  EXPECT_THAT(names(all, true), ElementsAre("anchor", "ce", "confidence_source", "confidence_target", "diversity", "entropy", "orthogonality_source",
                                            "orthogonality_target", "prototype", "transport"));
}

TEST(AdaptationTask, AnAnchorHoldsTheTargetsPredictions) {
  LossConfig free;
  free.confidence = free.transport = free.prototype = free.orthogonality = 0;
  auto held = free;
  held.anchor = 20;
  const auto moved = [](const LossConfig& loss) {
    const Learner setup(config_of(CloudMode::kOurs, Part::kText), loss);
    const auto before = setup.task->target_entropy();
    train(*setup.task, steps(30));
    return std::abs(setup.task->target_entropy() - before);
  };
  EXPECT_LT(moved(held), moved(free) / 3);
}

TEST(AdaptationTask, LearnsTheSource) {
  LossConfig only;
  only.confidence = only.transport = only.prototype = only.orthogonality = 0;
  const Learner setup(config_of(CloudMode::kOurs, Part::kText), only);
  const auto report = train(*setup.task, steps(40));
  EXPECT_GT(setup.task->evaluate().at("source_accuracy"), 0.9) << report.first_loss << " -> " << report.last_loss;
}

TEST(AdaptationTask, RestoresItsStart) {
  const Learner setup(config_of(CloudMode::kOurs));
  const auto before = setup.copies();
  train(*setup.task, steps(2));
  setup.task->restore_start();
  const auto after = setup.copies();
  for (size_t i = 0; i < after.size(); ++i) EXPECT_TRUE(at::equal(before[i], after[i]));
}

class Projections : public ::testing::TestWithParam<Projection> {
 protected:
  static CloudConfig config(Part prompts) {
    auto config = config_of(CloudMode::kOurs, prompts);
    config.projection = GetParam();
    return config;
  }
};

INSTANTIATE_TEST_SUITE_P(All, Projections, ::testing::Values(Projection::kPointclipV2, Projection::kPointclip, Projection::kPointclipTen));

TEST_P(Projections, OursStartsAsClipWithItsHandWrittenText) {
  const auto projection = GetParam();
  const auto model = tiny_clip();
  const AdaptedClip plain(*model, letter_encoder(), {"ball", "pole"}, config(Part::kNone), 1);
  const AdaptedClip prompted(*model, letter_encoder(), {"ball", "pole"}, config(Part::kBoth), 1);
  EXPECT_TRUE(at::allclose(plain.texts({}), prompted.texts({}), 1e-5, 1e-6));
  auto views = at::rand({2, view_count(projection), 32, 32});
  views.narrow(2, 0, 8).fill_(background_of(projection));  // the first row of patches
  const auto texts = plain.texts({}), points = at::rand({2, 16, 3});
  const auto a = plain.forward(views, {}, texts, {}), b = prompted.forward(views, points, texts, {});
  EXPECT_TRUE(at::allclose(a.logits, b.logits, 1e-4, 1e-4));  // a patch's own sum against the sum of its weights
}

// PointCLIP's adapter has a width for each view; so do the views of the batches, the saved file, and the tokens that a step counts.
TEST_P(Projections, PointclipsAdapterHasTheirNumberOfViews) {
  const auto views = view_count(GetParam());
  auto with_adapter = config(Part::kNone);
  with_adapter.head = CloudHead::kPointclipAdapter;
  LossConfig only;
  only.confidence = only.transport = only.prototype = 0;
  const TempDir run;
  const Learner setup(with_adapter, only, /*adapters=*/false, /*with_target=*/false);
  for (const auto& [name, leaf] : setup.trained())
    if (name == "view_adapter.together.weight") { EXPECT_EQ(leaf.size(1), views * setup.model->config().joint); }
  EXPECT_EQ(setup.task->accumulate_gradients(0, 0, 1).token_count, 6 * views);
  const auto report = train(*setup.task, steps(40, run.path()));
  EXPECT_LT(report.last_loss, report.first_loss);
  const auto model = tiny_clip();
  const auto loaded = load_adapted(*model, "", letter_encoder(), run.path(), {});
  EXPECT_EQ(loaded.clip->config().projection, GetParam());
  AdaptedClip other(*model, letter_encoder(), {"ball", "board", "pole"}, with_adapter, 1);
  EXPECT_NO_THROW(other.load(run.path()));
  with_adapter.projection = views == 6 ? Projection::kPointclipTen : Projection::kPointclip;
  AdaptedClip of_other_views(*model, letter_encoder(), {"ball", "board", "pole"}, with_adapter, 1);
  EXPECT_THROW(of_other_views.load(run.path()), InvalidArgument);
}

TEST(AdaptedClip, ReleasedModeLeavesItsPicturePromptsUntrained) {
  const auto model = tiny_clip();
  const AdaptedClip released(*model, letter_encoder(), {"ball", "pole"}, config_of(CloudMode::kReleased), 1);
  for (const auto& [name, leaf] : released.trainable()) EXPECT_FALSE(name.starts_with("picture.")) << name;
}

TEST(AdaptedClip, WhatARunLearntIsLoadedAgain) {
  for (const auto head : {CloudHead::kNone, CloudHead::kPointclipAdapter}) {
    const TempDir run;
    auto config = config_of(CloudMode::kPaper);
    config.head = head;
    Learner setup(config);
    train(*setup.task, steps(3, run.path()));
    const auto model = tiny_clip();
    const auto loaded = load_adapted(*model, "", letter_encoder(), run.path(), {});
    EXPECT_EQ(loaded.clip->classes(), setup.clip.classes());
    const auto batch = cloud_batch(shape_clouds(2, 9), std::vector<int64_t>{0, 1, 2, 3}, {.side = 32, .points = 16});
    const auto logits = [&](const AdaptedClip& clip) {
      const at::NoGradGuard no_gradient;
      return clip.forward(batch.views, batch.points, clip.texts({}), {}).logits;
    };
    EXPECT_TRUE(at::equal(logits(*loaded.clip), logits(setup.clip)));
  }
}

TEST(AdaptedClip, PointclipAdapterAloneIsTrained) {
  auto config = config_of(CloudMode::kOurs, Part::kNone);
  config.head = CloudHead::kPointclipAdapter;
  LossConfig only;
  only.confidence = only.transport = only.prototype = 0;
  const Learner setup(config, only, /*adapters=*/false, /*with_target=*/false);
  for (const auto& [name, leaf] : setup.trained()) EXPECT_TRUE(name.starts_with("view_adapter")) << name;
  train(*setup.task, steps(40));
  EXPECT_GT(setup.task->evaluate().at("source_accuracy"), 0.9);
}

TEST(CloudBatch, BalancedShowsEveryClassAsOftenAsTheCommonest) {
  using ::testing::ElementsAre;
  EXPECT_THAT(balanced({1, 0, 1, 1, 2, 2}), ElementsAre(0, 1, 2, 3, 4, 5, 1, 1, 4));
  EXPECT_THAT(balanced({0, 1}), ElementsAre(0, 1));
  EXPECT_TRUE(balanced({}).empty());
}

TEST(CloudBatch, ScannedCloudsLackPointsAndOthersDoNot) {
  auto set = shape_clouds(2, 1);
  const std::vector<int64_t> indices = {0, 1, 2, 3};
  const auto views = [&](bool augment, double scanned) { return cloud_batch(set, indices, {.side = 32, .augment = augment, .scanned = scanned, .seed = 3}).views; };
  EXPECT_TRUE(at::equal(views(true, 0), views(true, 0)));
  EXPECT_FALSE(at::equal(views(true, 0), views(true, 1)));
  EXPECT_TRUE(at::equal(views(false, 0), views(false, 1))) << "an evaluation sees clouds as they are";
}

TEST(CloudBatch, IsTheSameForTheSameSeedAndOursInEvaluation) {
  const auto set = shape_clouds(2, 1);
  const std::vector<int64_t> indices = {4, 1};
  const auto views = [&](bool augment, uint64_t seed) { return cloud_batch(set, indices, {.side = 32, .augment = augment, .seed = seed}).views; };
  EXPECT_TRUE(at::equal(views(true, 7), views(true, 7)));
  EXPECT_FALSE(at::equal(views(true, 7), views(true, 8)));
  EXPECT_TRUE(at::equal(views(false, 7), views(false, 8)));
  const auto batch = cloud_batch(set, indices, {.side = 32, .points = 200});
  EXPECT_EQ(batch.points.sizes(), (at::IntArrayRef{2, 200, 3}));  // more than a cloud has
  EXPECT_TRUE(at::equal(batch.labels, at::tensor({int64_t{1}, int64_t{1}}, at::kLong)));
}

}  // namespace
}  // namespace graft::pipelines
