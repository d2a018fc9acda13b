#pragma once

namespace graft::pipelines {

/// Settles what must be settled before a process does anything else: how idle OpenMP threads wait. Call it first in main().
///
/// On a machine with cores to spare they spin for half a millisecond before they sleep: waking one costs more than most of a training
/// step's thousand short pieces. Where other work already fills the cores they sleep at once: a spinning thread would take the core
/// from the thread that it waits for. The OpenMP runtime reads its settings while it is loaded, before main(), so the program starts
/// itself once more with the setting (0.2 s). Does nothing where OMP_WAIT_POLICY or GOMP_SPINCOUNT is set already
/// (docs/decisions/0007-how-idle-threads-wait.md).
void prepare_process(char** argv);

}  // namespace graft::pipelines
