#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <string>

#include "data_loaders/text/tokenizer.h"
#include "peft_core/backbones/clip/clip_model.h"
#include "pipelines/cloud/class_prompts.h"

namespace graft::pipelines {

/// What CLIP's text tower says about classes: the features of each class's prompts in unit length, their mean in unit length. (K, J) fp32.
///
/// They are kept in cache_folder() under a hash of `fingerprint` (of model and adapter) and of all token ids, so that the text tower runs once
/// for a list of classes. A damaged file there, and a folder that cannot be written, are warnings.
/// Throws   InvalidArgument for a prompt that is longer than the model reads, and for a tokenizer without a start token.
at::Tensor class_features(const peft::ClipModel& model, const data::Tokenizer& tokenizer, std::span<const CloudClass> classes,
                          const PromptConfig& prompts, const std::string& fingerprint);

/// Scores of each view: views (B, M, S, S) in [0, 1], classes (K, J) of unit length -> (B, M, K), scale * cosine.
at::Tensor view_logits(const peft::ClipModel& model, const at::Tensor& views, const at::Tensor& classes);

}  // namespace graft::pipelines
