#include "peft_core/slots/frozen_linear.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/base/error.h"
#include "peft_core/slots/expansion_scratch.h"
#include "peft_core/slots/held_base.h"

namespace graft::peft {
namespace {

class DenseLinear final : public FrozenLinear {
 public:
  explicit DenseLinear(at::Tensor weight)
      : FrozenLinear(weight.size(0), weight.size(1)), weight_(std::move(weight)) {}

  std::string storage() const override { 
    return weight_.scalar_type() == at::kFloat ? "fp32" : weight_.scalar_type() == at::kHalf ? "fp16" : "bf16";
  }
  int64_t bytes() const override { return weight_.numel() * weight_.element_size(); }
  at::Tensor as_stored() const override { return weight_; }

 protected:
  void expand(int64_t begin, int64_t count, at::Tensor& to) const override { to.copy_(weight_.narrow(0, begin, count)); }

 private:
  at::Tensor weight_;
};

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

struct FrozenProduct : public torch::autograd::Function<FrozenProduct> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const std::optional<at::Tensor>& bias,
                            std::shared_ptr<const FrozenLinear> base) {
    auto y = base->project(x);
    if (bias) y.add_(*bias);
    ctx->saved_data["biased"] = bias.has_value();
    ctx->saved_data["base"] = hold_base(std::move(base));
    return y;
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto& g = gradients[0];
    const auto& base = held_base(ctx->saved_data["base"]);
    at::Tensor dx, dbias;
    if (ctx->needs_input_grad(0)) dx = base.project_back(g);
    if (ctx->saved_data["biased"].toBool() && ctx->needs_input_grad(1)) dbias = g.sum({0}, /*keepdim=*/false, at::kFloat);
    return {dx, dbias, at::Tensor()};
  }
};

}  // namespace

FrozenLinear::~FrozenLinear() { ExpansionScratch::shared().forget(); }

at::Tensor FrozenLinear::rows(int64_t begin, int64_t count, at::ScalarType dtype) const {
  if (const auto stored = as_stored(); stored.defined() && stored.scalar_type() == dtype) return stored.narrow(0, begin, count);
  return ExpansionScratch::shared().expanded(this, begin, count, in_features_, dtype,
                                             [&](at::Tensor& to) { expand(begin, count, to); });
}

at::Tensor FrozenLinear::project(const at::Tensor& x) const {
  return at::mm(x, rows(0, out_features_, x.scalar_type()).t());
}

at::Tensor FrozenLinear::project_back(const at::Tensor& g) const {
  return at::mm(g, rows(0, out_features_, g.scalar_type()));
}

at::Tensor FrozenLinear::gather(const at::Tensor& ids, at::ScalarType dtype) const {
  auto picked = at::empty({ids.size(0), in_features_}, dtype);
  const auto* id = ids.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < ids.size(0); ++i) {
    auto row = picked.narrow(0, i, 1);
    expand(id[i], 1, row);
  }
  return picked;
}

at::Tensor FrozenLinear::weight() const {
  auto whole = at::empty({out_features_, in_features_}, at::kFloat);
  expand(0, out_features_, whole);
  return whole;
}

std::shared_ptr<FrozenLinear> dense_linear(const at::Tensor& weight) {
  GRAFT_ASSERT(weight.dim() == 2 && (weight.scalar_type() == at::kFloat || weight.scalar_type() == at::kBFloat16 ||
                                    weight.scalar_type() == at::kHalf));
  return std::make_shared<DenseLinear>(weight);
}

at::Tensor frozen_linear(const at::Tensor& x, const std::shared_ptr<const FrozenLinear>& base, const at::Tensor& bias) {
  return FrozenProduct::apply(x, if_defined(bias), base);
}

}  // namespace graft::peft
