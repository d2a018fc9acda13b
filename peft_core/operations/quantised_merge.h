#pragma once

#include <string>
#include <vector>

#include "peft_core/operations/update_rounding.h"
#include "peft_core/slots/targets.h"

namespace graft::peft {

/// What merging did to one layer.
struct MergeLoss {
  std::string layer;
  KeptUpdate kept;
  double squared_error = 0;   ///< Σ (stored − merged)²
  double squared_weight = 0;  ///< Σ merged²
};

/// Folds the adapters of a model with an NF4 base into its weights and quantises them again, so that the model is as small as it was. Layers
/// whose base is dense (a head) are merged in fp32. The adapters are gone afterwards.
/// Throws   InvalidArgument for a merged weight that is not finite; layers before it are merged already.
std::vector<MergeLoss> merge_into_nf4(Places& places, Rounding rounding, double direction_weight = kDirectionWeight);

}  // namespace graft::peft
