#include "kernels/kernel_list.h"

#include <algorithm>
#include <span>
#include <string_view>

#include "kernels/attention/variants.h"
#include "kernels/base/cpu_features.h"
#include "kernels/gguf_blocks/variants.h"
#include "kernels/head_loss/variants.h"
#include "kernels/nf4/variants.h"
#include "kernels/packed_linear/variants.h"
#include "kernels/row_product/variants.h"
#include "kernels/rows/highway_targets.h"
#include "kernels/tiles/tiles.h"

namespace graft::kernels {
namespace {

struct Instructions {
  std::string_view name;
  bool CpuFeatures::*present;
};

constexpr Instructions kTiles[] = {{"amx_bf16", &CpuFeatures::amx_bf16}, {"avx512_bf16", &CpuFeatures::avx512_bf16}};
constexpr Instructions kDotProducts[] = {{"avx512_bf16", &CpuFeatures::avx512_bf16}};
constexpr Instructions kAvx512[] = {{"avx512", &CpuFeatures::avx512}};
constexpr Instructions kAvx2[] = {{"avx2", &CpuFeatures::avx2}};
/// What some variants of the last two names want besides.
constexpr Instructions kFurther[] = {{"f16c", &CpuFeatures::f16c}, {"avx512_bf16", &CpuFeatures::avx512_bf16}};

/// What a variant of this name is made of; none for those that run everywhere.
std::span<const Instructions> needed_by(std::string_view variant) {
  if (variant == "amx") return kTiles;
  if (variant == "avx512_bf16") return kDotProducts;
  if (variant == "avx512") return kAvx512;
  if (variant == "avx2") return kAvx2;
  return {};
}

std::string names_of(std::span<const Instructions> instructions, std::string_view between) {
  std::string text;
  for (const auto& one : instructions) text.append(text.empty() ? "" : between).append(one.name);
  return text;
}

std::string why_used(std::string_view variant) {
  const auto needed = needed_by(variant);
  return needed.empty() ? "runs everywhere" : names_of(needed, " and ") + " present";
}

/// The first instructions of a list that `features` lack.
const Instructions* first_missing(std::span<const Instructions> list, const CpuFeatures& features) {
  const auto found = std::find_if(list.begin(), list.end(), [&](const auto& one) { return !(features.*one.present); });
  return found == list.end() ? nullptr : &*found;
}

/// Why the best variants do not run, `better` of them, best first: a limit if it keeps the processor from one, else what the best one lacks.
template <class Variant>
std::string why_not_used(std::span<const Variant> better) {
  for (const auto& variant : better) {
    const auto needed = needed_by(variant.name);
    if (first_missing(needed, processor_features()) == nullptr && first_missing(needed, cpu_features()) != nullptr) return cpu_limit();
  }
  const auto best = better.front().name;
  for (const std::span<const Instructions> list : {needed_by(best), std::span<const Instructions>(kFurther)}) {
    if (const auto* missing = first_missing(list, processor_features())) return "this processor has no " + std::string(missing->name);
    if (first_missing(list, cpu_features()) != nullptr) return cpu_limit();
  }
  return "no " + std::string(best) + " in this build";
}

/// `runs` says for each variant whether it does here. With `else_libtorch` LibTorch computes where tiles do not pay.
template <class Variant, class Runs>
KernelUse use_of(std::string name, std::span<const Variant> variants, Runs runs, bool else_libtorch) {
  const auto found = std::find_if(variants.begin(), variants.end(), runs);
  const bool best = found == variants.begin();
  const auto why = best ? why_used(found->name) : why_not_used(variants.first(static_cast<size_t>(found - variants.begin())));
  KernelUse use{.name = std::move(name), .chosen = "LibTorch", .why = why, .others = {}};
  if (!else_libtorch || tiles_pay()) use.chosen = found->name;
  for (const auto& variant : variants) {
    if (variant.name != use.chosen) use.others.emplace_back(variant.name);
  }
  return use;
}

template <class Variant>
KernelUse use_of(std::string name, std::span<const Variant> variants, bool else_libtorch = false) {
  return use_of(std::move(name), variants, [](const Variant& variant) { return variant.supported(); }, else_libtorch);
}

KernelUse attention_use() {
  AttentionProblem usual;
  usual.heads = usual.key_heads = 1;
  usual.width = 64;
  const auto runs = [&](const detail::AttentionVariant& variant) { return variant.supported(usual); };
  return use_of("attention", detail::attention_variants(), runs, true);
}

/// Element-wise loops, one text for all instruction sets.
KernelUse highway_use(std::string name) {
  const auto targets = highway_targets();
  const auto limit = cpu_limit();
  return {.name = std::move(name), .chosen = targets.chosen, .why = limit.empty() ? "Highway's best for this processor" : limit, .others = targets.others};
}

}  // namespace

bool bfloat16_pays() { return has_fast_bfloat16() || tiles_pay(); }

std::vector<KernelUse> kernel_uses() {
  return {
      use_of("packed products", detail::packed_linear_variants(), true),
      use_of("few-row products", detail::row_product_variants()),
      attention_use(),
      use_of("head and loss", detail::head_loss_variants(), true),
      use_of("NF4", detail::nf4_variants()),
      use_of("GGUF blocks", dequantize_variants()),
      highway_use("rows"),
      highway_use("depth views"),
      highway_use("optimal transport"),
      highway_use("AdamW"),
  };
}

}  // namespace graft::kernels
