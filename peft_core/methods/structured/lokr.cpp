#include "peft_core/methods/structured/lokr.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "kernels/ops/dense_products.h"
#include "peft_core/base/config.h"
#include "peft_core/methods/structured/lycoris_family.h"
#include "peft_core/methods/published_form.h"
#include "peft_core/methods/start_values.h"

namespace graft::peft {
namespace {

enum class LokrStart { kFirstZero, kSecondZero };
EnumNames<LokrStart> config_names(LokrStart) { return {{"true", LokrStart::kFirstZero}, {"lycoris", LokrStart::kSecondZero}}; }

struct LokrConfig : LycorisConfig {
  LokrConfig() { name = "lokr"; }
  int64_t decompose_factor = -1;
  bool decompose_both = false;
  bool rank_dropout_scale = false;
  LokrStart init_weights = LokrStart::kFirstZero;

  template <class Visitor>
  void visit(Visitor& v) {
    LycorisConfig::visit(v);
    v("decompose_factor", decompose_factor, "size of the first matrix of the Kronecker product; -1: near the root of the layer's sizes");
    v("decompose_both", decompose_both, "the first matrix, too, is a product of rank r where r is below half of its larger side");
    v("rank_dropout_scale", rank_dropout_scale, "divides what rank_dropout leaves by its share");
    v("init_weights", init_weights, "which matrix is zero at the start: true, the first; lycoris, the second");
  }
};

/// One side of the Kronecker product: whole, or of rank r.
struct KroneckerSide {
  at::Tensor whole, up, down;  // (rows, columns); or (rows, r) and (r, columns)

  static KroneckerSide start(int64_t rows, int64_t columns, int64_t rank, bool decomposed, at::Generator& random) {
    KroneckerSide side;
    if (!decomposed) {
      side.whole = uniform_leaf({rows, columns}, random);
    } else {
      side.up = uniform_leaf({rows, rank}, random);
      side.down = uniform_leaf({rank, columns}, random);
    }
    return side;
  }

  at::Tensor dense() const { return whole.defined() ? whole : at::mm(up, down); }

  /// x (N, columns) -> (N, rows), in x's dtype.
  at::Tensor multiply(const at::Tensor& x) const {
    const auto type = x.scalar_type();
    // Measured: two thin products take as long as one of four times their multiplications.
    const bool thin = !whole.defined() && 4 * up.size(1) * (up.size(0) + down.size(1)) < up.size(0) * down.size(1);
    if (thin) return ops::mm(ops::mm(x, down.to(type).t()), up.to(type).t());
    return ops::mm(x, dense().to(type).t());
  }

  void append_to(NamedTensors& all, const std::string& name) const {
    if (whole.defined()) all.emplace_back(name, whole);
    if (up.defined()) all.emplace_back(name + "_a", up), all.emplace_back(name + "_b", down);
  }
};

class LokrAdapter final : public Adapter {
 public:
  LokrAdapter(const LycorisLayer& layer, const LokrConfig& config)
      : scale_(layer.scale),
        dropout_{.outputs = config.rank_dropout, .layer = config.module_dropout, .rescale = config.rank_dropout_scale} {
    std::tie(l_, k_) = kronecker_factors(layer.base.out_features(), config.decompose_factor);
    std::tie(m_, n_) = kronecker_factors(layer.base.in_features(), config.decompose_factor);
    const auto below_half = [&](int64_t side, int64_t other) { return 2 * layer.rank < std::max(side, other); };
    first_ = KroneckerSide::start(l_, m_, layer.rank, config.decompose_both && below_half(l_, m_), layer.random);
    second_ = KroneckerSide::start(k_, n_, layer.rank, below_half(k_, n_), layer.random);
    const at::NoGradGuard no_gradient;
    if (config.init_weights == LokrStart::kFirstZero) {
      (first_.whole.defined() ? first_.whole : first_.up).zero_();
    } else {
      (second_.whole.defined() ? second_.whole : second_.down).zero_();
    }
  }

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    auto update = multiply(x);
    if (const auto kept = dropout_.draw(l_ * k_, call, x.device()); kept.defined()) update = update * kept.to(x.scalar_type());
    return frozen_linear(x, call.base, call.bias) + update;
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override {
    return base.weight().add_(at::kron(first_.dense().detach(), second_.dense().detach()), scale_);
  }

  NamedTensors parameters() const override {
    NamedTensors all;
    first_.append_to(all, "lokr_w1");
    second_.append_to(all, "lokr_w2");
    return all;
  }

 private:
  /// s C X Dᵀ for every row of x, the side first that leaves less to multiply.
  at::Tensor multiply(const at::Tensor& x) const {
    const auto rows = x.size(0);
    const auto first = (first_.dense() * scale_).to(x.scalar_type()).expand({rows, l_, m_});
    if (k_ * (m_ * n_ + m_ * l_) <= l_ * (n_ * m_ + n_ * k_)) {
      const auto xd = second_.multiply(x.reshape({rows * m_, n_})).view({rows, m_, k_});
      return ops::bmm(first, xd).view({rows, l_ * k_});
    }
    const auto cx = ops::bmm(first, x.reshape({rows, m_, n_}));  // (N, l, n)
    return second_.multiply(cx.view({rows * l_, n_})).view({rows, l_ * k_});
  }

  int64_t l_ = 0, k_ = 0, m_ = 0, n_ = 0;
  double scale_;
  UpdateDropout dropout_;
  KroneckerSide first_, second_;
};

std::string start_name(LokrStart start) { return start == LokrStart::kFirstZero ? "true" : "lycoris"; }

std::unique_ptr<Attachment> attach(Places& places, const ConfigNode& node, const AttachContext& context) {
  const auto config = read_config<LokrConfig>(node);
  expect_range("method.decompose_factor", static_cast<double>(config.decompose_factor), -1, 1 << 30);
  return attach_lycoris(places, config, context.seed,
                        [&](const LycorisLayer& layer) { return std::make_shared<LokrAdapter>(layer, config); },
                        {{"peft_type", "LOKR"},
                         {"init_weights", start_to_publish(start_name(config.init_weights))},
                         {"decompose_both", config.decompose_both},
                         {"decompose_factor", config.decompose_factor},
                         {"rank_dropout_scale", config.rank_dropout_scale}});
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  auto section = lycoris_from_published(published, "LOKR", "lokr");
  if (!section) return std::nullopt;
  read_published(published, "decompose_both", *section, "decompose_both", false);
  read_published(published, "decompose_factor", *section, "decompose_factor", -1);
  read_published(published, "rank_dropout_scale", *section, "rank_dropout_scale", false);
  (*section)["init_weights"] = published_start(published);
  return ConfigNode::parse(section->dump(), "adapter_config.json");
}

std::vector<std::string> published_keys() {
  auto keys = lycoris_published_keys();
  for (const auto* key : {"decompose_both", "decompose_factor", "rank_dropout_scale"}) keys.emplace_back(key);
  return keys;
}

}  // namespace

std::pair<int64_t, int64_t> kronecker_factors(int64_t n, int64_t factor) {
  if (factor > 0 && n % factor == 0) return {factor, n / factor};
  int64_t first = 1;
  for (int64_t divisor = 2; divisor * divisor <= n && (factor == -1 || divisor <= factor); ++divisor)
    if (n % divisor == 0) first = divisor;
  return {first, n / first};
}

MethodSpec lokr_method() {
  return {.name = "lokr",
          .paper = "arXiv:2309.14859",
          .use_when = "very few parameters have to reach a high rank",
          .parameters = "l m + r (k + n) per layer, with out = l k and in = m n; k n for the second matrix where r is half of it and more",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = attach,
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<LokrConfig>(config), "method"); },
          .published = {.peft_type = "LOKR", .keys = published_keys(), .tensor_marks = {".lokr_"}}};
}

}  // namespace graft::peft
