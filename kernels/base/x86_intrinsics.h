#pragma once

// The vector and tile intrinsics of x86; include it only where the processor is one.

// GCC 12 takes the registers that its own intrinsics leave undefined on purpose for a mistake of ours.
#if !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif
