#pragma once

#include <map>
#include <memory>
#include <string>

#include "peft_core/backbones/clip/clip_model.h"
#include "pipelines/cloud/class_texts.h"
#include "pipelines/cloud/cloud_samples.h"

namespace graft::testing {

/// Two layers a tower, pictures of 32 x 32 in patches of 8, random weights that do something.
peft::ClipConfig tiny_clip_config();
std::unique_ptr<peft::ClipModel> tiny_clip();

/// A token a character; start 62, end 63.
pipelines::TextEncoder letter_encoder();

/// `each` clouds of ball, board and pole, labelled 0, 1, 2, each one a little different; noisy ones look like another sensor's.
pipelines::CloudSet shape_clouds(int64_t each, uint64_t seed, double noise = 0);

}  // namespace graft::testing
