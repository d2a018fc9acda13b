#pragma once

/// Before a function that both the processor and a CUDA device run. A macro, since only nvcc knows the words behind it.
#if defined(__CUDACC__)
#define GRAFT_HOST_DEVICE __host__ __device__
#else
#define GRAFT_HOST_DEVICE
#endif
