#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "kernels/nf4/nf4.h"
#include "peft_core/slots/adapter.h"

namespace graft::peft {

/// How a merged weight becomes a narrower type.
///   kNearest  each value goes to the nearest one that the type holds. An update below half a step of a weight that lies on the type's grid
///             already, as the weights of a quantised base do, is lost by that altogether.
///   kUpdate   some values go to a neighbour further off, so that what the row's update reads (its directions in the space of inputs) comes
///             out right: the errors of a row cancel along these directions.
enum class Rounding { kNearest, kUpdate };

/// How much an error along the directions counts beside one elsewhere. Measured on SmolLM2-135M with Q8_0 (docs/operations.md): below 10 parts of
/// the update are still lost, from 30 to 300 the loss on held-out text stays the same.
constexpr double kDirectionWeight = 30;

/// What a type can hold.
enum class StoredType { kBf16, kF16, kQ8_0 };

/// Values near `merged` (out, in) fp32 that the type holds exactly, for kUpdate: rows t become q of the type with
///   ‖t − q‖² + weight · ‖(t − q) Vᵀ‖²
/// small, V an orthonormal basis of `directions` (r, in). Starts from the nearest values and walks over the row, those first whose target
/// is nearest to the middle of two values; each takes that of the two values around its target that is better while the others stand. Scales of blocks are those of plain
/// rounding.
/// Shapes   in a multiple of 32 for Q8_0. Deterministic, the same for any number of threads.
at::Tensor rounded_for_update(const at::Tensor& merged, const at::Tensor& directions, StoredType type, double weight = kDirectionWeight);

/// The same for NF4: codes for `merged` with the scales that plain quantisation gives.
kernels::Nf4Weight nf4_for_update(const at::Tensor& merged, const at::Tensor& directions, int64_t block_size = 64, double weight = kDirectionWeight);

/// What an adapter reads of its inputs, rows (r, in): a LoRA's A; of other updates the 16 most important directions.
at::Tensor update_directions(const Adapter& adapter, const FrozenLinear& base);

/// How much of an update Δ = merged − base is in what was stored: ⟨stored − base, Δ⟩ / ⟨Δ, Δ⟩, from sums over any number of weights.
struct KeptUpdate {
  double product = 0;         ///< ⟨stored − base, Δ⟩
  double squared_update = 0;  ///< ⟨Δ, Δ⟩

  void add(const at::Tensor& merged, const at::Tensor& stored, const at::Tensor& base);
  double fraction() const { return squared_update > 0 ? product / squared_update : 1; }
};

}  // namespace graft::peft
