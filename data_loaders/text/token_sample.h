#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data_loaders/text/tokenizer.h"

namespace graft::data {

/// One tokenised training text. `learn[i]` says whether the model should learn to predict ids[i] from what stands before it.
struct TokenSample {
  std::vector<TokenId> ids;    ///< (T)
  std::vector<uint8_t> learn;  ///< (T), 0 or 1; learn[0] is ignored, as nothing stands before it
};

/// One or more samples laid end to end, never padded; attention stays inside each sequence.
struct TokenBatch {
  std::vector<TokenId> ids;         ///< (N)
  std::vector<TokenId> targets;     ///< (N): the id to predict at this place, or -1 where nothing is learnt
  std::vector<int32_t> positions;   ///< (N): position inside its own sequence, from 0
  std::vector<int32_t> lengths;     ///< (S): sequence lengths; their sum is N
  int64_t target_count() const;     ///< places with a target
};

}  // namespace graft::data
