#include "pipelines/language/language_calibration.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

#include "data_loaders/text/packing.h"

namespace graft::pipelines {

LanguageCalibration::LanguageCalibration(const peft::CausalLm& model, const data::TokenSet& samples, int64_t count)
    : model_(model), samples_(samples), count_(std::min(count, samples.size())) {}

void LanguageCalibration::run(bool gradients) const {
  const at::AutoGradMode mode(gradients);
  for (int64_t i = 0; i < count_; ++i) {
    const int64_t index[] = {i * samples_.size() / count_};
    const auto batch = data::batch(samples_, index);
    const auto hidden = model_.hidden_states(peft::TokenStream::of(batch.ids, batch.lengths), {});
    if (!gradients) continue;
    const auto targets = at::tensor(at::ArrayRef<data::TokenId>(batch.targets), at::kInt).to(at::kLong);
    const auto loss = model_.loss_sum(hidden, targets) / static_cast<double>(std::max<int64_t>(1, batch.target_count()) * count_);
    // Nothing asks for a gradient unless an observer does.
    if (loss.requires_grad()) torch::autograd::backward({loss});
  }
}

}  // namespace graft::pipelines
