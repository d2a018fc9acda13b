#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "peft_core/methods/method.h"
#include "peft_core/operations/low_rank_updates.h"

namespace graft::peft {

/// One layer's update and what is lost when it is cut to a rank.
struct ConvertedLayer {
  std::string layer;
  LowRankUpdate update;      ///< scale 1
  double squared_update = 0; ///< ‖Δ‖², the sum of squares
  double squared_error = 0;  ///< ‖Δ − b a‖²

  double relative_error() const;
};

struct Conversion {
  std::vector<ConvertedLayer> layers;  ///< in the model's order

  LowRankUpdates updates() const;
  /// Over all layers: √(Σ‖Δ − b a‖² / Σ‖Δ‖²).
  double relative_error() const;
};

/// The update that an adapter makes to each linear layer, whatever its method, as the nearest LoRA of rank `rank`. `attach` puts the adapter
/// on the places; it is taken off again. An update that a low-rank product makes is taken from its factors, any other as merged weight − base
/// weight in fp32, which leaves a noise of some 6e-8 of the weights in it.
/// Throws   InvalidArgument for a rank below 1 and for an adapter that changes something besides weights of linear layers.
Conversion convert_to_low_rank(Places& places, int64_t rank, const std::function<std::unique_ptr<Attachment>()>& attach);

}  // namespace graft::peft
