#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/base/block_program.h"

// Private to block programs: rows that are read once and used in several phases.
namespace graft::kernels::detail {

/// A thread's share of a row of n numbers: eights of kRowThreads threads in turn. The first kKept of them stay in registers from one phase to
/// the next, as kNumbers numbers for each of the row's; wider rows are read again.
template <int kRowThreads, int kKept, int kNumbers, class Block>
class RowShare {
 public:
  using Eights = float[kNumbers][kEight];

  explicit GRAFT_HOST_DEVICE RowShare(int64_t n) : n_(n) {}

  /// Σ over the row of what term(numbers, first, count) returns, after load(first, count, numbers); the same for every thread.
  template <class Load, class Term>
  GRAFT_HOST_DEVICE auto load_and_sum(Block& block, const Load& load, const Term& term) {
    return sum_of<true>(block, load, term);
  }
  /// The same of numbers that were loaded before.
  template <class Load, class Term>
  GRAFT_HOST_DEVICE auto sum(Block& block, const Load& load_again, const Term& term) {
    return sum_of<false>(block, load_again, term);
  }
  /// Calls use(numbers, first, count) for all eights of a thread.
  template <class Load, class Use>
  GRAFT_HOST_DEVICE void each(int thread, const Load& load_again, const Use& use) {
    visit<false>(thread, load_again, use);
  }

 private:
  struct Kept {
    Eights eights[kKept];
  };

  template <bool kLoad, class Load, class Term>
  GRAFT_HOST_DEVICE auto sum_of(Block& block, const Load& load, const Term& term) {
    using Sum = std::invoke_result_t<Term, const Eights&, int64_t, int>;  // float or TwoSums
    typename Block::template PerThread<Sum> sums;
    block.each([&](int thread) {
      Sum sum{};
      visit<kLoad>(thread, load, [&](const Eights& numbers, int64_t first, int count) { sum = Add()(sum, term(numbers, first, count)); });
      sums[thread] = sum;
    });
    return block.reduce(sums, Add());
  }

  template <bool kLoad, class Load, class Use>
  GRAFT_HOST_DEVICE void visit(int thread, const Load& load, const Use& use) {
    visit_kept<0, kLoad>(thread, kept_[thread], load, use);
    constexpr int64_t kStep = int64_t{kRowThreads} * kEight;
    for (int64_t first = kKept * kStep + int64_t{thread} * kEight; first < n_; first += kStep) {
      Eights numbers;
      load(first, count_of_eight(first, n_), numbers);
      use(numbers, first, count_of_eight(first, n_));
    }
  }
  /// Unrolled by hand, since only places known at compile time stay in registers.
  template <int kPlace, bool kLoad, class Load, class Use>
  GRAFT_HOST_DEVICE void visit_kept(int thread, Kept& kept, const Load& load, const Use& use) {
    if constexpr (kPlace < kKept) {
      const int64_t first = (int64_t{kPlace} * kRowThreads + thread) * kEight;
      if (first >= n_) return;
      if constexpr (kLoad) load(first, count_of_eight(first, n_), kept.eights[kPlace]);
      use(kept.eights[kPlace], first, count_of_eight(first, n_));
      visit_kept<kPlace + 1, kLoad>(thread, kept, load, use);
    }
  }

  int64_t n_;
  typename Block::template PerThread<Kept> kept_;
};

}  // namespace graft::kernels::detail
