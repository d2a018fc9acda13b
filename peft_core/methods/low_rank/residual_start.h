#pragma once

#include <functional>

#include "peft_core/base/config.h"
#include "peft_core/methods/low_rank/lora_family.h"

// Methods that start LoRA from a pair A0, B0 other than zero and take its product out of the base, so that nothing changes at the start.
namespace graft::peft {

struct StartPair {
  at::Tensor a, b;  ///< A0 (r, in), B0 (out, r)
};
using MakeStart = std::function<StartPair(const LoraLayer& layer)>;

/// What is written for such an adapter.
enum class SavedAs {
  kLora,   ///< a plain LoRA of rank 2r, A' = [A; A0], B' = [B, -B0], that every reader of LoRA files understands
  kStart,  ///< A and B alone, as PEFT saves them; who loads them has to find A0 and B0 from the base again
};
inline EnumNames<SavedAs> config_names(SavedAs) { return {{"lora", SavedAs::kLora}, {"start", SavedAs::kStart}}; }

/// The base is left as it is, quantised or mapped as it may be. Instead of the difference of two products,
///   y = W x + b + s (B A - B0 A0) drop(x) = W x + b + s [B - B0, B0] [A; A - A0] drop(x),
/// which is zero, bit for bit, while A = A0 and B = B0, and does not lose small updates beside large products. A and B are the leaves, with
/// the gradients that they have in y = (W - s B0 A0) x + s B A x.
///
/// B is kept transposed, so that both leaves are contiguous parts of what is saved.
class ResidualAdapter final : public Adapter {
 public:
  ResidualAdapter(const StartPair& start, const LoraLayer& layer, SavedAs saved_as);

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override;
  at::Tensor merged_weight(const FrozenLinear& base) const override;
  NamedTensors parameters() const override { return {{"lora_A.weight", a_}, {"lora_B.weight", b_transposed_}}; }
  NamedTensors fixed() const override;
  void move_to(at::Device device) const override;

 private:
  /// [A; A - A0] (2r, in) and [B - B0, B0] (out, 2r).
  StartPair update() const;

  at::Tensor whole_a_;             // [A; A0], (2r, in)
  at::Tensor whole_b_transposed_;  // [B, -B0] transposed, (2r, out)
  at::Tensor a_, b_transposed_;    // leaves: the first r rows of each
  double scale_, dropout_;
  SavedAs saved_as_;
};

/// Attaches one on every chosen layer. `own_section` is saved beside a kLora file, so that it is read back as what it is; `start_name` is
/// PEFT's init_lora_weights for a kStart file. A kLora file holds A0 and B0: while it is read, `make` is not called.
std::unique_ptr<Attachment> attach_residual(Places& places, const LoraConfig& config, const AttachContext& context, const MakeStart& make,
                                            const nlohmann::json& own_section, SavedAs saved_as = SavedAs::kLora,
                                            const std::string& start_name = "");

}  // namespace graft::peft
