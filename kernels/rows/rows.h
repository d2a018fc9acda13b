#pragma once

// Element-wise work on rows, in one pass through memory each. One text for all instruction sets, written with Highway, which chooses when
// the program runs (within GRAFT_CPU). Torch-free: pointers to contiguous memory, outputs allocated by the caller, OpenMP inside.
// Sums inside a row and the order of rows never depend on the number of threads.

#include "kernels/rows/activation_rows.h"
#include "kernels/rows/element.h"
#include "kernels/rows/norm_rows.h"
#include "kernels/rows/rotary_rows.h"
#include "kernels/rows/softmax_block_rows.h"
