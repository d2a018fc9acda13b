#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data_loaders/text/tokenizer.h"
#include "pipelines/cloud/pretrain_config.h"
#include "pipelines/cloud/small_clip.h"
#include "pipelines/task.h"

namespace graft::pipelines {

/// Ids of a text as CLIP's text tower reads them: start token, the text, end token, at most `positions` in all (the text is cut).
std::vector<int32_t> clip_ids(const data::Tokenizer& tokenizer, const std::string& text, int64_t positions);

/// A small CLIP learns to match depth views of made objects with captions. Objects, views and captions of a step depend on (seed, step)
/// only; nothing is read from the disk.
class PretrainTask final : public TrainTask {
 public:
  PretrainTask(SmallClip& clip, std::shared_ptr<const data::Tokenizer> tokenizer, const ShapesConfig& shapes, const PretrainConfig& train);

  int64_t target_count(int64_t, int64_t) override { return train_.batch_size * shapes_.views; }
  MicroStep accumulate_gradients(int64_t step, int64_t micro, double loss_scale) override;
  /// held_out_accuracy: share of the kinds told apart, by the mean of all ten views, whole objects and scanned ones apart, for objects that
  /// no step has seen.
  Metrics evaluate() override;
  std::vector<ParameterGroup> trainable_parameters() override;
  bool after_step(int64_t) override;
  void save(const std::string& run_dir) override { clip_.write(run_dir); }

 private:
  struct Batch {
    at::Tensor images;  ///< (B * views, 3, S, S)
    peft::TextIds texts;
    at::Tensor fits;    ///< (B * views, B * views)
  };
  Batch batch_at(int64_t step) const;
  double held_out_accuracy(bool scan) const;

  SmallClip& clip_;
  std::shared_ptr<const data::Tokenizer> tokenizer_;
  ShapesConfig shapes_;
  PretrainConfig train_;
};

}  // namespace graft::pipelines
