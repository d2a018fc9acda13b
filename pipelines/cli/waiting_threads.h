#pragma once

namespace graft::pipelines {

/// Settles how idle OpenMP threads wait, for the rest of this process. On a machine with cores to spare they spin for half a millisecond
/// before they sleep: waking one costs more than most of a training step's thousand short pieces. Where other work already fills the
/// cores they sleep at once: a spinning thread would take the core from the thread that it waits for.
///
/// The OpenMP runtime reads its settings while it is loaded, before main(), so the program starts itself once more with the setting (0.2 s).
/// Does nothing where OMP_WAIT_POLICY or GOMP_SPINCOUNT is set already. Call it first in main().
void choose_how_threads_wait(char** argv);

}  // namespace graft::pipelines
