#include "kernels/adamw/adamw.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/adamw/adamw.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "kernels/base/error.h"
#include "kernels/rows/highway_targets.h"

HWY_BEFORE_NAMESPACE();
namespace graft::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Floats = hn::ScalableTag<float>;

/// Elements of one piece, a vector or one number at a time; D says which. Products and sums stay apart, so that both give the same bits.
template <class D>
struct Update {
  using V = hn::Vec<D>;
  D d;
  V decay, one_minus_beta1, beta2, one_minus_beta2, minus_step_size, root_correction2, epsilon, gradient_scale;

  HWY_INLINE Update(const AdamWScalars& s, float scale)
      : decay(hn::Set(d, s.decay)), one_minus_beta1(hn::Set(d, s.one_minus_beta1)), beta2(hn::Set(d, s.beta2)),
        one_minus_beta2(hn::Set(d, s.one_minus_beta2)), minus_step_size(hn::Set(d, s.minus_step_size)),
        root_correction2(hn::Set(d, s.root_correction2)), epsilon(hn::Set(d, s.epsilon)), gradient_scale(hn::Set(d, scale)) {}

  HWY_INLINE void at(float* p, float* g, float* m, float* v) const {
    const V gradient = hn::Mul(hn::LoadU(d, g), gradient_scale), moment = hn::LoadU(d, m);
    const V first = hn::Add(moment, hn::Mul(one_minus_beta1, hn::Sub(gradient, moment)));
    const V square = hn::Mul(hn::Mul(one_minus_beta2, gradient), gradient);
    const V second = hn::Add(hn::Mul(hn::LoadU(d, v), beta2), square);
    const V denominator = hn::Add(hn::Div(hn::Sqrt(second), root_correction2), epsilon);
    const V step = hn::Div(hn::Mul(minus_step_size, first), denominator);
    hn::StoreU(hn::Add(hn::Mul(hn::LoadU(d, p), decay), step), d, p);
    hn::StoreU(first, d, m);
    hn::StoreU(second, d, v);
    hn::StoreU(hn::Zero(d), d, g);
  }
};

void update_piece(const AdamWScalars& scalars, float gradient_scale, int64_t count, float* p, float* g, float* m, float* v) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(Floats()));
  const Update<Floats> vectors(scalars, gradient_scale);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) vectors.at(p + i, g + i, m + i, v + i);
  const Update<hn::CappedTag<float, 1>> single(scalars, gradient_scale);
  for (; i < count; ++i) single.at(p + i, g + i, m + i, v + i);
}

constexpr int64_t kSums = 8;  // running sums, whatever a vector holds

/// A square of an fp32 number is exact in double, so it matters to no bit whether product and sum melt into one rounding.
double squares_of(const float* values, int64_t count) {
  using D = hn::CappedTag<double, kSums>;
  using Narrow = hn::Rebind<float, D>;
  const D d;
  constexpr auto kLanes = static_cast<int64_t>(hn::MaxLanes(D()));
  const int64_t whole = count / kSums * kSums;
  hn::Vec<D> parts[kSums / kLanes];
  for (auto& part : parts) part = hn::Zero(d);
  for (int64_t i = 0; i < whole; i += kSums) {
    for (int64_t part = 0; part < kSums / kLanes; ++part) {
      const auto value = hn::PromoteTo(d, hn::LoadU(Narrow(), values + i + part * kLanes));
      parts[part] = hn::MulAdd(value, value, parts[part]);
    }
  }
  double sums[kSums];
  for (int64_t part = 0; part < kSums / kLanes; ++part) hn::StoreU(parts[part], d, sums + part * kLanes);
  double total = 0;
  for (int64_t i = whole; i < count; ++i) total += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace graft::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace graft::kernels {
namespace {

constexpr int64_t kPieceElements = 16384;

HWY_EXPORT(update_piece);
HWY_EXPORT(squares_of);

/// Calls body(i) for each piece, on all threads where there is more than one.
template <class Body>
void over(std::span<const AdamWPiece> pieces, const Body& body) {
  choose_highway_targets();
  const auto count = static_cast<int64_t>(pieces.size());
#pragma omp parallel for schedule(static) if (count > 1)
  for (int64_t i = 0; i < count; ++i) body(static_cast<size_t>(i));
}

}  // namespace

void append_adamw_pieces(float* values, int64_t offset, int64_t count, int64_t tensor, std::vector<AdamWPiece>& pieces) {
  for (int64_t begin = 0; begin < count; begin += kPieceElements) {
    pieces.push_back({values + begin, offset + begin, std::min(kPieceElements, count - begin), tensor});
  }
}

double sum_of_squares(std::span<const AdamWPiece> pieces, const float* gradients, std::span<double> piece_sums) {
  GRAFT_ASSERT(piece_sums.size() == pieces.size());
  over(pieces, [&](size_t i) { piece_sums[i] = HWY_DYNAMIC_DISPATCH(squares_of)(gradients + pieces[i].offset, pieces[i].count); });
  double sum = 0;
  for (const double piece_sum : piece_sums) sum += piece_sum;
  return sum;
}

void adamw_update(std::span<const AdamWPiece> pieces, std::span<const AdamWScalars> scalars, float gradient_scale,
                  const AdamWBuffers& buffers) {
  over(pieces, [&](size_t i) {
    const auto& piece = pieces[i];
    HWY_DYNAMIC_DISPATCH(update_piece)(scalars[static_cast<size_t>(piece.tensor)], gradient_scale, piece.count, piece.values,
                                       buffers.gradients + piece.offset, buffers.first_moments + piece.offset,
                                       buffers.second_moments + piece.offset);
  });
}

}  // namespace graft::kernels
#endif
