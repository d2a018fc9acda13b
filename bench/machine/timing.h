#pragma once

#include <functional>

namespace graft::bench {

/// Of some measurements: seconds, or a ratio.
struct Spread {
  double median = 0, smallest = 0, largest = 0;
};

/// One of the two things that are compared. `prepare` runs before each measured call and is not measured.
struct Side {
  std::function<void()> run;
  std::function<void()> prepare = {};
};

/// What two sides took, in turns.
struct Turns {
  Spread ours, theirs;  ///< seconds a call
  Spread ratio;         ///< theirs over ours, of neighbours in time
  int rounds = 0;
};

/// How long a comparison may take.
struct Budget {
  double seconds = 1;
  int least_rounds = 5;
};

/// Both sides in turns, so that both meet the same moments of the machine. A short call is repeated until a measurement lasts 4 ms, after as many
/// calls that do not count: what the other side leaves behind (caches for one) slows the first millisecond down by up to a half. Neither is
/// done for a side that must be prepared each time.
Turns in_turns(const Side& ours, const Side& theirs, const Budget& budget);

/// The shortest of some runs, in seconds: what a machine can do, for ceilings.
double best_of(int runs, const std::function<void()>& run);
/// The same of as many runs as fill so many seconds.
double best_within(double seconds, const std::function<void()>& run);

}  // namespace graft::bench
