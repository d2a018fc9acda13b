#pragma once

namespace graft::bench {

/// Exponentials of doubles a second that one core makes of a block in its L1 cache, as kernels/sinkhorn makes them (Highway's): the best of several
/// runs of a loop that does nothing else.
double exponentials_per_second();

}  // namespace graft::bench
