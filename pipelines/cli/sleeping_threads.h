#pragma once

namespace graft::pipelines {

/// Makes idle OpenMP threads sleep where they would spin, for the rest of this process: alone on a machine it makes no difference, beside
/// other work a spinning thread takes the processor from the thread that it waits for (measured here: 2.4 times slower training).
///
/// The OpenMP runtime reads its settings while it is loaded, before main(), so the program starts itself once more with the setting (0.2 s).
/// Does nothing where OMP_WAIT_POLICY or GOMP_SPINCOUNT is set already. Call it first in main().
void let_idle_threads_sleep(char** argv);

}  // namespace graft::pipelines
