#include "peft_core/methods/low_rank/input_spectrum.h"

#include <ATen/ATen.h>

#include "peft_core/methods/observed_samples.h"

namespace graft::peft {
namespace {

struct Moments {
  at::Tensor products, sum;  // Σ x xᵀ (in, in), Σ x (in), fp64
  int64_t count = 0;
  at::Tensor values, vectors;  // of the centred scatter matrix, descending; once asked for

  explicit Moments(int64_t in) : products(at::zeros({in, in}, at::kDouble)), sum(at::zeros({in}, at::kDouble)) {}

  void add(const at::Tensor& x) {
    const at::NoGradGuard no_gradient;
    const auto exact = x.to(at::kDouble);
    products.addmm_(exact.t(), exact);
    sum.add_(exact.sum({0}));
    count += x.size(0);
  }

  void decompose() {
    if (values.defined()) return;
    const auto scatter = products - at::outer(sum, sum) / static_cast<double>(std::max<int64_t>(1, count));
    std::tie(values, vectors) = at::linalg_eigh(scatter);
    const auto descending = values.argsort(-1, /*descending=*/true);
    values = values.index_select(0, descending).clamp_min(0);
    vectors = vectors.index_select(1, descending);
    products.reset();
  }
};

struct Watched {
  std::shared_ptr<Moments> moments;
  bool follows = false;  // another layer, given the same input, counts
};

/// The input that was seen last.
struct LastInput {
  at::Tensor x;
  std::shared_ptr<Moments> moments;
};

InputSpectrum spectrum_of(Moments& moments, int64_t wanted) {
  moments.decompose();
  const auto count = std::min({wanted, moments.values.size(0), std::max<int64_t>(1, moments.count - 1)});
  auto rows = moments.vectors.narrow(1, 0, count).t();
  const auto largest = rows.gather(1, rows.abs().argmax(1, /*keepdim=*/true));
  return {(rows * at::where(largest < 0, -1.0, 1.0)).to(at::kFloat).contiguous(), moments.values.narrow(0, 0, count).clone(),
          moments.values.sum().item<double>()};
}

}  // namespace

std::map<std::string, InputSpectrum> input_spectra(const std::vector<LinearSlot*>& slots, const std::map<std::string, int64_t>& wanted,
                                                   const AttachContext& context, const std::string& method) {
  std::map<std::string, std::shared_ptr<Watched>> all;
  std::map<std::string, InputSpectrum> spectra;
  const auto last = std::make_shared<LastInput>();
  const Gathering gathering = {
      .bytes = [](const LinearSlot& slot) { return 8 * slot.base()->in_features() * slot.base()->in_features(); },
      .begin = [&](const LinearSlot& slot) -> LinearSlot::Observer {
        const auto own = std::make_shared<Watched>();
        all[slot.name()] = own;
        return [own, last](const at::Tensor& x, const at::Tensor&) {
          if (own->moments == nullptr) {
            own->follows = last->x.defined() && last->x.is_same(x);
            own->moments = own->follows ? last->moments : std::make_shared<Moments>(x.size(1));
          }
          if (!own->follows) own->moments->add(x);
          *last = {x, own->moments};
        };
      },
      .end =
          [&](const LinearSlot& slot) {
            *last = {};
            const auto own = std::move(all.extract(slot.name()).mapped());
            if (own->moments == nullptr) own->moments = std::make_shared<Moments>(slot.base()->in_features());
            spectra[slot.name()] = spectrum_of(*own->moments, wanted.at(slot.name()));
          }};
  observe_samples(slots, context, /*gradients=*/false, gathering, method);
  return spectra;
}

}  // namespace graft::peft
