#include "kernels/ops/kept_input.h"

#include "kernels/base/error.h"
#include "kernels/ops/remaking.h"

namespace graft::ops {
namespace {

using torch::autograd::Node;
using NodePointer = std::decay_t<decltype(std::declval<const at::Tensor&>().grad_fn())>;

constexpr const char* kPlace = "kept input";

/// Either the tensor or the operator that can make it again. The graph holds that operator anyway, behind this one.
struct KeptInput : public torch::CustomClassHolder {
  at::Tensor tensor;
  NodePointer maker;
};

/// The last tensor that was made again: the q, k and v projections ask for the same one in turn. Known by its maker and the memory of the
/// maker's source, which is held so that nothing else can take its place.
struct Remade {
  const Node* maker = nullptr;
  at::Tensor source, value;
};
thread_local Remade last_remade;

const Maker* maker_of(const NodePointer& node) {
  static const auto makers = all_makers();
  if (node == nullptr) return nullptr;
  for (const auto& maker : makers)
    if (maker.made(*node)) return &maker;
  return nullptr;
}

}  // namespace

void keep_input(torch::autograd::AutogradContext* ctx, const at::Tensor& x) {
  auto kept = c10::make_intrusive<KeptInput>();
  const auto* maker = maker_of(x.grad_fn());
  if (maker != nullptr && x.output_nr() >= maker->first_result) {
    kept->maker = x.grad_fn();
  } else {
    kept->tensor = x.detach();
  }
  ctx->saved_data[kPlace] = c10::IValue::make_capsule(std::move(kept));
}

at::Tensor kept_input(torch::autograd::AutogradContext* ctx) {
  const auto capsule = ctx->saved_data[kPlace].toCapsule();
  const auto& kept = *static_cast<const KeptInput*>(capsule.get());
  if (kept.tensor.defined()) return kept.tensor;
  const auto* maker = maker_of(kept.maker);
  GRAFT_ASSERT(maker != nullptr);
  at::NoGradGuard no_gradient;
  const auto source = maker->source(*kept.maker).detach();
  const Node* node = &*kept.maker;
  if (last_remade.maker != node || last_remade.source.data_ptr() != source.data_ptr())
    last_remade = {node, source, maker->make(*kept.maker)};
  return last_remade.value;
}

}  // namespace graft::ops
