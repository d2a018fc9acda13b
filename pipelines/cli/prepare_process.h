#pragma once

namespace graft::pipelines {

/// Settles what a process must settle before it does anything else. Call it first in main().
///
/// Memory   large blocks go back to the system when they are freed. Batches differ in length, so that blocks of ever new sizes would
///          cut up the heap: a run of 70 uneven batches grew from 3.1 to 5.6 GiB.
/// Threads  on a machine with cores to spare, idle OpenMP threads spin for half a millisecond before they sleep: waking one costs more than
///          most of a training step's thousand short pieces. Where other work already fills the cores they sleep at once: a spinning
///          thread would take the core from the thread that it waits for. The OpenMP runtime reads its settings while it is loaded,
///          before main(), so the program starts itself once more with the setting (0.2 s). Does nothing where OMP_WAIT_POLICY or
///          GOMP_SPINCOUNT is set already (docs/decisions/0007-how-idle-threads-wait.md).
void prepare_process(char** argv);

}  // namespace graft::pipelines
