#include "pipelines/cloud/prototypes.h"

#include <ATen/ATen.h>

#include <cmath>

#include "peft_core/backbones/clip/clip_model.h"
#include "pipelines/cloud/view_choice.h"

namespace graft::pipelines {

at::Tensor certainty(const at::Tensor& logits) {
  if (logits.size(-1) < 2) return at::ones({logits.size(0)}, logits.options());
  return (1 - entropy_of(logits) / std::log(static_cast<double>(logits.size(-1)))).clamp(0, 1);
}

at::Tensor class_prototypes(const at::Tensor& features, const at::Tensor& logits, const at::Tensor& labels) {
  const auto weight = certainty(logits) + 1e-6;  // a class of which nothing is sure gets its plain mean
  const auto of_class = at::one_hot(labels, logits.size(1)).to(features.scalar_type()) * weight.unsqueeze(1);
  return at::mm(of_class.t(), features) / of_class.sum(0).unsqueeze(1).clamp_min(1e-12);
}

at::Tensor prototype_loss(const at::Tensor& features, const at::Tensor& prototypes, double temperature) {
  const auto present = at::nonzero(prototypes.abs().sum(1) > 0).flatten();
  if (present.numel() < 2) return at::zeros({}, features.options());
  const auto cosine = at::mm(peft::unit_rows(features), peft::unit_rows(prototypes.index_select(0, present)).t());
  const auto scores = cosine / temperature;
  const auto best = std::get<0>(at::log_softmax(scores, 1).max(1));
  return -(certainty(scores).detach() * best).mean();
}

}  // namespace graft::pipelines
