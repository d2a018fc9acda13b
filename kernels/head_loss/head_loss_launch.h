#pragma once

// Private to the CUDA variant and its test: the choice of programs and grids.

#include <limits>
#include <string>

#include "kernels/base/error.h"
#include "kernels/head_loss/head_loss_program.h"

namespace graft::kernels::detail {

template <class Body>
void by_head_element(HeadElement type, const Body& body) {
  if (type == HeadElement::kFloat32) return body(float{});
  body(uint16_t{});
}

template <class... Pointers>
bool head_rows_hold_packs(int64_t n, Pointers... pointers) {
  return n % kEight == 0 && (holds_packs(pointers) && ...);
}

inline void check_head_chunk(const HeadRunning& running, const HeadChunk& chunk) {
  if (running.rows >= 0 && chunk.first >= 0 && chunk.count >= 0 && chunk.count <= std::numeric_limits<int32_t>::max()) return;
  throw InvalidArgument({.where = "head loss on CUDA", .what = "has a wrong shape", .expected = "rows and words of 0 to 2^31 - 1",
                         .got = std::to_string(running.rows) + " rows, " + std::to_string(chunk.count) + " words from " +
                                std::to_string(chunk.first)});
}

template <class Launcher>
void launch_begin_head_loss(const Launcher& launch, const HeadRunning& running, int64_t width, float* sums) {
  launch(running.rows, BeginHeadLoss{running, width, sums});
}

template <class Launcher>
void launch_absorb_logits(const Launcher& launch, HeadElement type, const HeadRunning& running, const HeadChunk& chunk, void* logits) {
  check_head_chunk(running, chunk);
  by_head_element(type, [&](auto tag) {
    using T = decltype(tag);
    launch(running.rows, AbsorbLogits<T>{running, chunk, head_rows_hold_packs(chunk.count, logits), static_cast<T*>(logits)});
  });
}

template <class Launcher>
void launch_add_head_chunk(const Launcher& launch, HeadElement type, const HeadRunning& running, const HeadChunk& chunk, int64_t width,
                           const void* part, const void* words, float* sums, void* target_words) {
  check_head_chunk(running, chunk);
  by_head_element(type, [&](auto tag) {
    using T = decltype(tag);
    launch(running.rows, AddHeadChunk<T>{running, chunk, width, head_rows_hold_packs(width, part, words, sums, target_words),
                                         static_cast<const T*>(part), static_cast<const T*>(words), sums, static_cast<T*>(target_words)});
  });
}

template <class Launcher>
void launch_finish_head_loss(const Launcher& launch, HeadElement type, const HeadRunning& running, int64_t width, const float* sums,
                             const void* target_words, float* nll, void* gradient) {
  by_head_element(type, [&](auto tag) {
    using T = decltype(tag);
    launch(running.rows, FinishHeadLoss<T>{running, width, head_rows_hold_packs(width, sums, target_words, gradient), sums,
                                           static_cast<const T*>(target_words), nll, static_cast<T*>(gradient)});
  });
}

}  // namespace graft::kernels::detail
