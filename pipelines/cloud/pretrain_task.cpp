#include "pipelines/cloud/pretrain_task.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "kernels/base/error.h"
#include "kernels/depth_views/depth_views.h"
#include "peft_core/base/rng.h"
#include "pipelines/cloud/cloud_views.h"
#include "pipelines/cloud/shapes/shapes.h"

namespace graft::pipelines {
namespace {

/// The view of a cloud with z up: draw_views() turns every cloud first, here the turn (x, y, z) -> (x, z, -y) is part of the rotation.
kernels::Rotation with_z_up(const kernels::Rotation& r) { return {r[0], -r[2], r[1], r[3], -r[5], r[4], r[6], -r[8], r[7]}; }

/// Some of the ten views, drawn without replacement.
std::vector<kernels::Rotation> some_views(int64_t count, RandomStream stream) {
  const auto all = kernels::standard_views();
  const auto order = shuffled_indices(std::ssize(all), stream);
  std::vector<kernels::Rotation> views;
  for (int64_t i = 0; i < count; ++i) views.push_back(with_z_up(all[static_cast<size_t>(order[static_cast<size_t>(i)])]));
  return views;
}

constexpr const char* kHeldOutTemplate = "point cloud depth map of a ";

}  // namespace

std::vector<int32_t> clip_ids(const data::Tokenizer& tokenizer, const std::string& text, int64_t positions) {
  const auto& specials = tokenizer.specials();
  if (!specials.bos || !specials.eos)
    throw InvalidArgument({.where = "tokenizer", .what = "has no start or end token", .expected = "a CLIP tokenizer"});
  auto ids = tokenizer.encode(text);
  ids.resize(std::min(ids.size(), static_cast<size_t>(positions - 2)));
  ids.insert(ids.begin(), *specials.bos);
  ids.push_back(*specials.eos);
  return ids;
}

PretrainTask::PretrainTask(SmallClip& clip, std::shared_ptr<const data::Tokenizer> tokenizer, const ShapesConfig& shapes, const PretrainConfig& train)
    : clip_(clip), tokenizer_(std::move(tokenizer)), shapes_(shapes), train_(train) {
  validate(shapes_), validate(train_);
}

PretrainTask::Batch PretrainTask::batch_at(int64_t step) const {
  const auto seed = static_cast<uint64_t>(train_.seed);
  const int64_t kinds = std::ssize(shape_families()), objects = train_.batch_size, views = shapes_.views, side = clip_.config().vision.image_size;
  RandomStream stream(seed, "pretrain", static_cast<uint64_t>(step));
  struct Draw {
    int64_t family;
    uint64_t seed;
    bool scan;
  };
  std::vector<Draw> draws;
  for (int64_t i = 0; i < objects; ++i)
    draws.push_back({static_cast<int64_t>(stream.below(static_cast<uint64_t>(kinds))), stream.next(), stream.uniform() < shapes_.scan_share});
  const auto pictures = at::empty({objects * views, 1, side, side}, at::kFloat);
  float* const out = pictures.mutable_data_ptr<float>();
  at::parallel_for(0, objects, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto& draw = draws[static_cast<size_t>(i)];
      const auto cloud = make_shape(draw.family, draw.seed, {.points = shapes_.points, .scan = draw.scan});
      const std::vector<int64_t> starts = {0, cloud.size()};
      kernels::depth_views({cloud.points, starts}, some_views(views, RandomStream(draw.seed, "views")), side, out + i * views * side * side);
    }
  });
  Batch batch{.images = pictures.expand({objects * views, 3, side, side}), .texts = {}, .fits = at::zeros({objects * views, objects * views})};
  auto fits = batch.fits.accessor<float, 2>();
  for (int64_t text = 0; text < objects * views; ++text) {
    const auto caption = caption_of(draws[static_cast<size_t>(text / views)].family, stream.next());
    batch.texts.push_back(clip_ids(*tokenizer_, caption.text, clip_.config().positions));
    for (int64_t image = 0; image < objects * views; ++image)
      fits[image][text] = names_family(caption.word, draws[static_cast<size_t>(image / views)].family) ? 1.0f : 0.0f;
  }
  return batch;
}

MicroStep PretrainTask::accumulate_gradients(int64_t step, int64_t, double loss_scale) {
  const auto batch = batch_at(step);
  const auto images = peft::unit_rows(clip_.image_features(batch.images)), texts = peft::unit_rows(clip_.text_features(batch.texts));
  const auto loss = many_positives_loss(clip_.scale() * at::mm(images, texts.t()), batch.fits);
  (loss * loss_scale).backward();
  const auto& vision = clip_.config().vision;
  const int64_t patches = vision.image_size / vision.patch_size;
  return {.loss_sum = loss.item<double>(), .target_count = batch.images.size(0), .token_count = batch.images.size(0) * (patches * patches + 1)};
}

double PretrainTask::held_out_accuracy(bool scan) const {
  const at::NoGradGuard no_gradient;
  const auto& families = shape_families();
  peft::TextIds texts;
  for (const auto& family : families) texts.push_back(clip_ids(*tokenizer_, kHeldOutTemplate + family.words[0] + ".", clip_.config().positions));
  const auto classes = peft::unit_rows(clip_.text_features(texts)).t();
  int64_t right = 0;
  for (size_t family = 0; family < families.size(); ++family) {
    std::vector<data::PointCloud> clouds;
    for (int64_t i = 0; i < train_.held_out; ++i)
      clouds.push_back(make_shape(static_cast<int64_t>(family), stream_seed(static_cast<uint64_t>(train_.seed), "held out", static_cast<uint64_t>(i)),
                                  {.points = shapes_.points, .scan = scan}));
    const auto views = draw_views(clouds, clip_.config().vision.image_size);
    const auto features = peft::unit_rows(clip_.image_features(as_images(views)));
    const auto chosen = at::mm(features, classes).view({std::ssize(clouds), views.size(1), -1}).mean(1).argmax(1);
    right += chosen.eq(static_cast<int64_t>(family)).sum().item<int64_t>();
  }
  return static_cast<double>(right) / static_cast<double>(train_.held_out * std::ssize(families));
}

Metrics PretrainTask::evaluate() {
  return {{"held_out_accuracy", held_out_accuracy(false)}, {"held_out_scan_accuracy", held_out_accuracy(true)}};
}

std::vector<ParameterGroup> PretrainTask::trainable_parameters() {
  ParameterGroup matrices{.name = "matrices", .parameters = {}}, others{.name = "others", .parameters = {}, .weight_decay = false};
  for (const auto& [name, tensor] : clip_.parameters())  // as CLIP: gains, biases, the scale and embeddings of places do not decay
    (tensor.dim() >= 2 && !name.ends_with("position_embedding.weight") ? matrices : others).parameters.emplace_back(name, tensor);
  return {matrices, others};
}

bool PretrainTask::after_step(int64_t) {
  clip_.limit_scale();
  return false;
}

}  // namespace graft::pipelines
