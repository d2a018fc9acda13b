#include "peft_core/slots/frozen_linear.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "kernels/base/error.h"
#include "kernels/ops/apply.h"
#include "kernels/ops/dense_products.h"
#include "kernels/ops/if_defined.h"
#include "peft_core/slots/expansion_scratch.h"
#include "peft_core/slots/held_base.h"

namespace graft::peft {
namespace {

constexpr int64_t kStretch = 1 << 18;  // values of a weight that are expanded and packed at a time

class DenseLinear final : public FrozenLinear {
 public:
  DenseLinear(at::Tensor weight, std::function<void()> let_go)
      : FrozenLinear(weight.size(0), weight.size(1)), weight_(std::move(weight)), let_go_(std::move(let_go)) {}

  std::string storage() const override {
    return weight_.scalar_type() == at::kFloat ? "fp32" : weight_.scalar_type() == at::kHalf ? "fp16" : "bf16";
  }
  int64_t bytes() const override { return weight_.numel() * weight_.element_size(); }
  int64_t bytes_in_training(at::ScalarType compute) const override {
    if (!ops::runs_on_tiles(compute)) return bytes();
    return 2 * ops::packed_size(out_features(), in_features(), ops::Side::kForward) + (let_go_ ? 0 : bytes());
  }
  int64_t second_packing_bytes(at::ScalarType compute) const override {
    return ops::runs_on_tiles(compute) ? 2 * ops::packed_size(out_features(), in_features(), ops::Side::kBackward) : 0;
  }
  void choose_second_packing(bool made) const override {
    second_packing_ = made;
    if (!made) backward_.reset();
  }
  at::Tensor as_stored() const override { return weight_; }
  void let_stored_go() const override {
    if (let_go_ && (forward_.defined() || on_device_.defined())) let_go_();
  }

 protected:
  void expand(int64_t begin, int64_t count, at::Tensor& to) const override { to.copy_(weight_.narrow(0, begin, count)); }

  at::Tensor rows_on_device(int64_t begin, int64_t count, at::ScalarType dtype, at::Device device) const override {
    if (!on_device_.defined() || on_device_.scalar_type() != dtype || on_device_.device() != device) {
      on_device_ = weight_.to(device, dtype);
      if (let_go_) let_go_();
    }
    return on_device_.narrow(0, begin, count);
  }

  at::Tensor few_rows_product(const at::Tensor& x, const ops::ProductTerms& terms) const override {
    // A packed copy is as quick, and the stored one may have been let go. A head, of which only last tokens ask, is never packed for them.
    if (ops::runs_on_tiles(x) && forward_.defined()) return tile_product(x, ops::Side::kForward, terms);
    return ops::few_rows_product(x, as_rows(), out_features(), terms);
  }

  at::Tensor tile_product(const at::Tensor& x, ops::Side side, const ops::ProductTerms& terms) const override {
    if (side == ops::Side::kBackward && !second_packing_) {
      return ops::packed_product_back(x, packed(ops::Side::kForward), in_features(), terms);
    }
    return ops::packed_product(x, packed(side), columns(side), terms);
  }

 private:
  kernels::RowWeight as_rows() const {
    const auto type = weight_.scalar_type() == at::kFloat  ? kernels::GgmlType::kF32
                      : weight_.scalar_type() == at::kHalf ? kernels::GgmlType::kF16
                                                           : kernels::GgmlType::kBF16;
    return {.type = type, .blocks = static_cast<const std::byte*>(weight_.const_data_ptr()), .row_bytes = weight_.stride(0) * weight_.element_size()};
  }

  at::Tensor packed(ops::Side side) const {
    auto& kept = side == ops::Side::kForward ? forward_ : backward_;
    if (!kept.defined()) {
      auto memory = at::empty({ops::packed_size(out_features(), in_features(), side)}, at::kBFloat16);
      pack(side, memory);
      kept = memory;
      if (let_go_) let_go_();
    }
    return kept;
  }

  void pack(ops::Side side, at::Tensor& to) const {
    // A stretch fits the second cache beside its packed copy.
    const int64_t stretch = std::max<int64_t>(32, (kStretch / in_features()) / 32 * 32);
    for (int64_t begin = 0; begin < out_features(); begin += stretch)
      ops::pack_rows(rows(begin, std::min(stretch, out_features() - begin), at::kBFloat16), begin, out_features(), side, to);
  }

  at::Tensor weight_;
  std::function<void()> let_go_;
  mutable at::Tensor forward_, backward_;  // packed at their first use
  mutable at::Tensor on_device_;           // in the dtype of the products there
  mutable bool second_packing_ = false;
};

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

struct FrozenProduct : public torch::autograd::Function<FrozenProduct> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const std::optional<at::Tensor>& bias,
                            std::shared_ptr<const FrozenLinear> base) {
    auto y = base->project(x, {.bias = bias.value_or(at::Tensor())});
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

FrozenLinear::~FrozenLinear() {
  ExpansionScratch::shared().forget();
}

at::Tensor FrozenLinear::rows(int64_t begin, int64_t count, at::ScalarType dtype, at::Device device) const {
  if (!device.is_cpu()) return rows_on_device(begin, count, dtype, device);
  if (const auto stored = as_stored(); stored.defined() && stored.scalar_type() == dtype) return stored.narrow(0, begin, count);
  return ExpansionScratch::shared().expanded(this, begin, count, in_features_, at::TensorOptions(dtype),
                                             [&](at::Tensor& to) { expand(begin, count, to); });
}

at::Tensor FrozenLinear::product(const at::Tensor& x, ops::Side side, const ops::ProductTerms& terms) const {
  const bool forward = side == ops::Side::kForward, taken = x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16;
  if (forward && taken && ops::is_few_rows(x)) return few_rows_product(x, terms);
  if (ops::runs_on_tiles(x)) return tile_product(x, side, terms);
  const auto weight = rows(0, out_features_, x.scalar_type(), x.device());
  auto y = ops::mm(x, forward ? weight.t() : weight);
  ops::add_terms(y, terms);
  return y;
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

std::shared_ptr<FrozenLinear> dense_linear(const at::Tensor& weight, std::function<void()> let_go) {
  GRAFT_ASSERT(weight.dim() == 2 && (weight.scalar_type() == at::kFloat || weight.scalar_type() == at::kBFloat16 ||
                                    weight.scalar_type() == at::kHalf));
  return std::make_shared<DenseLinear>(weight, std::move(let_go));
}

at::Tensor frozen_linear(const at::Tensor& x, const std::shared_ptr<const FrozenLinear>& base, const at::Tensor& bias) {
  return ops::apply<FrozenProduct>(x, ops::if_defined(bias), base);
}

}  // namespace graft::peft
