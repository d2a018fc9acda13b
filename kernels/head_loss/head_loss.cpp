#include "kernels/head_loss/head_loss.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>

#include "kernels/base/best_variant.h"
#include "kernels/base/error.h"
#include "kernels/head_loss/layout.h"
#include "kernels/head_loss/variants.h"
#include "kernels/tiles/tiles.h"

namespace graft::kernels {
namespace {

using std::to_string;

constexpr int64_t kMostScratch = 64 << 20;

constexpr bool always() { return true; }

constexpr std::array<detail::HeadLossVariant, 4> kVariants = {{
    {"amx", amx_tiles_supported, detail::head_loss_amx},
    {"avx512_bf16", dot_tiles_supported, detail::head_loss_avx512_bf16},
    {"avx2", fma_tiles_supported, detail::head_loss_avx2},
    {"portable", always, detail::head_loss_portable},
}};

[[noreturn]] void refuse(const std::string& what, const std::string& expected, const std::string& got) {
  throw InvalidArgument({.where = "head loss", .what = what, .expected = expected, .got = got});
}

/// A matrix of a row or less may have any stride.
void check_stride(const char* name, int64_t rows, int64_t width, int64_t stride) {
  if (rows <= 1 || stride >= width) return;
  refuse(std::string("rows of ") + name + " overlap", "a stride of at least " + to_string(width), to_string(stride));
}

void check(const HeadLoss& p) {
  constexpr int64_t kMostVocabulary = std::numeric_limits<int32_t>::max();
  if (p.rows < 0 || p.width < 1) refuse("has a wrong shape", "rows >= 0, width >= 1", to_string(p.rows) + " x " + to_string(p.width));
  if (p.vocabulary < 1 || p.vocabulary > kMostVocabulary) refuse("has a wrong vocabulary", "1 to 2^31 - 1", to_string(p.vocabulary));
  check_stride("hidden", p.rows, p.width, p.hidden_stride);
  if (p.gradient != nullptr) check_stride("the gradient", p.rows, p.width, p.gradient_stride);
  for (int64_t row = 0; row < p.rows; ++row) {
    if (p.targets[row] >= 0 && p.targets[row] < p.vocabulary) continue;
    refuse("target of row " + to_string(row) + " is no word", "0 to " + to_string(p.vocabulary - 1), to_string(p.targets[row]));
  }
}

HeadLoss part_of(const HeadLoss& p, int64_t first, int64_t count) {
  HeadLoss part = p;
  part.rows = count;
  part.hidden += first * p.hidden_stride;
  part.targets += first;
  part.nll += first;
  if (p.gradient != nullptr) part.gradient += first * p.gradient_stride;
  if (p.best != nullptr) part.best += first;
  return part;
}

}  // namespace

namespace detail {

std::span<const HeadLossVariant> head_loss_variants() { return kVariants; }

}  // namespace detail

bool head_loss_supported() { return tiles_pay(); }

int64_t head_loss_words_at_once(int64_t width) { return detail::kParts * detail::words_of_part(width); }

int64_t head_loss_rows_of_pass(int64_t width) {
  const int64_t fixed = detail::ScratchPlan(0, width, true).end;
  const int64_t block = detail::ScratchPlan(detail::kRowBlock, width, true).end - fixed;
  return std::max<int64_t>(1, (kMostScratch - fixed) / block) * detail::kRowBlock;
}

int64_t head_loss_scratch(int64_t rows, int64_t width, bool gradient) {
  return detail::ScratchPlan(std::min(rows, head_loss_rows_of_pass(width)), width, gradient).end;
}

void head_loss(const HeadLoss& p) {
  check(p);
  const auto& variant = best_variant_of(kVariants);
  const int64_t step = head_loss_rows_of_pass(p.width);
  for (int64_t first = 0; first < p.rows; first += step) variant.run(part_of(p, first, std::min(step, p.rows - first)));
}

}  // namespace graft::kernels
