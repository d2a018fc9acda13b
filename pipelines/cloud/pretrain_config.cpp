#include "pipelines/cloud/pretrain_config.h"

#include <limits>
#include <string>

#include "kernels/base/error.h"

namespace graft::pipelines {
namespace {

void whole(const char* key, int64_t value, double low, double high) { expect_range(key, static_cast<double>(value), low, high); }

void multiple(const char* key, int64_t value, const char* of, int64_t part) {
  if (value % part != 0)
    throw InvalidArgument({.where = key, .what = std::string("is no multiple of ") + of, .got = std::to_string(value) + " and " + std::to_string(part)});
}

}  // namespace

void validate(const SmallClipConfig& config) {
  whole("model.image_size", config.image_size, 8, 1024), whole("model.patch_size", config.patch_size, 1, 1024);
  whole("model.width", config.width, 8, 4096), whole("model.layers", config.layers, 1, 48), whole("model.heads", config.heads, 1, 64);
  whole("model.text_width", config.text_width, 8, 4096), whole("model.text_layers", config.text_layers, 1, 48);
  whole("model.text_heads", config.text_heads, 1, 64), whole("model.positions", config.positions, 16, 1024), whole("model.joint", config.joint, 2, 4096);
  multiple("model.image_size", config.image_size, "model.patch_size", config.patch_size);
  multiple("model.width", config.width, "model.heads", config.heads);
  multiple("model.text_width", config.text_width, "model.text_heads", config.text_heads);
}

void validate(const ShapesConfig& config) {
  whole("shapes.points", config.points, 100, 1e6), whole("shapes.views", config.views, 1, 10);
  expect_range("shapes.scan_share", config.scan_share, 0, 1);
}

void validate(const PretrainConfig& config) {
  constexpr double kMany = 1e12;  // a bound that only a slip of the pen exceeds
  whole("train.max_steps", config.max_steps, 1, kMany), whole("train.batch_size", config.batch_size, 2, 1e5);
  expect_range("train.learning_rate", config.learning_rate, 0, std::numeric_limits<float>::max());
  expect_range("train.weight_decay", config.weight_decay, 0, 10), expect_range("train.warmup_ratio", config.warmup_ratio, 0, 1);
  expect_range("train.clip_norm", config.clip_norm, 0, kMany);
  whole("train.seed", config.seed, 0, kMany), whole("train.save_every", config.save_every, 0, kMany);
  whole("train.evaluate_every", config.evaluate_every, 0, kMany), whole("train.held_out", config.held_out, 1, 1e4);
}

peft::ClipConfig clip_config(const SmallClipConfig& config, int64_t vocabulary, int64_t end_token) {
  validate(config);
  const auto tower = [](int64_t width, int64_t layers, int64_t heads, bool causal) {
    return peft::EncoderShape{.width = width, .inner = 4 * width, .heads = heads, .layers = layers, .activation = kernels::Gelu::kQuick, .causal = causal};
  };
  peft::ClipConfig clip;
  clip.vision = {.encoder = tower(config.width, config.layers, config.heads, false), .image_size = config.image_size, .patch_size = config.patch_size};
  clip.text = tower(config.text_width, config.text_layers, config.text_heads, true);
  clip.vocabulary = vocabulary, clip.end_token = end_token;
  clip.positions = config.positions, clip.joint = config.joint;
  return clip;
}

TrainOptions train_options(const PretrainConfig& config) {
  return {.total_steps = config.max_steps, .learning_rate = config.learning_rate, .beta2 = 0.98, .epsilon = 1e-6, .weight_decay = config.weight_decay,
          .warmup_ratio = config.warmup_ratio, .clip_norm = config.clip_norm, .save_every = config.save_every, .evaluate_every = config.evaluate_every};
}

}  // namespace graft::pipelines
