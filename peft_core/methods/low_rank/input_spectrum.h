#pragma once

#include <map>
#include <string>
#include <vector>

#include "peft_core/methods/method.h"

namespace graft::peft {

/// Principal components of what a layer is given.
struct InputSpectrum {
  at::Tensor components;  ///< (k, in) fp32, orthonormal rows, in descending order; each one's largest entry is positive
  at::Tensor variances;   ///< (k) fp64: eigenvalues of the centred scatter matrix
  double total = 0;       ///< sum of all eigenvalues
};

/// Spectra of the slots' inputs over the samples, by the slots' names; at most `wanted` components, fewer where a layer or the samples have
/// no more. Layers that are given the same tensor are looked at once.
/// Throws InvalidArgument, naming the method, without samples.
std::map<std::string, InputSpectrum> input_spectra(const std::vector<LinearSlot*>& slots, const std::map<std::string, int64_t>& wanted,
                                                   const AttachContext& context, const std::string& method);

}  // namespace graft::peft
