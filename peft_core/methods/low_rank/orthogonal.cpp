#include "peft_core/methods/low_rank/orthogonal.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/methods/low_rank/lora_adapter.h"

namespace graft::peft {
namespace {

LoraFactors orthogonal_factors(const LoraLayer& layer) {
  const at::NoGradGuard no_gradient;
  if (layer.rank % 2 != 0)
    throw InvalidArgument({.where = "method.rank", .what = "an orthogonal start splits the rank in two", .expected = "an even rank",
                           .got = std::to_string(layer.rank) + " for " + layer.name});
  const auto normal = [&](int64_t rows, int64_t columns) { return at::randn({rows, columns}, layer.random, at::TensorOptions(at::kDouble)); };
  const auto q = std::get<0>(at::linalg_qr(normal(layer.rank, layer.rank)));
  const int64_t half = layer.rank / 2;
  const auto rows_from = [&](int64_t first) { return q.slice(0, first, layer.rank, 2); };
  return {at::mm(normal(layer.base.in_features(), half), rows_from(0)).t() / 10, at::mm(normal(layer.base.out_features(), half), rows_from(1)) / 10};
}

}  // namespace

MethodSpec orthogonal_method() {
  return {.name = "orthogonal",
          .paper = "no paper; https://datta0.github.io/posts/rethink-lora-init",
          .use_when = "A and B shall both learn from the first step on, without data or decompositions",
          .parameters = "r (in + out) per layer",
          .traits = {.identity_up_to_rounding = true},
          .attach = [](Places& places, const ConfigNode& section, const AttachContext& context) -> std::unique_ptr<Attachment> {
            const auto make = [](const LoraLayer& layer) { return std::make_shared<LoraAdapter>(orthogonal_factors(layer), layer); };
            const auto describe = [](nlohmann::json& published) { published["init_lora_weights"] = "orthogonal"; };
            return attach_lora_family(places, read_config<LoraConfig>(section), context.seed, {.make = make, .describe = describe});
          },
          .from_published = [](const nlohmann::json& published) { return lora_from_published(published, "orthogonal"); },
          .resolved = [](const ConfigNode& section) { return write_config(read_config<LoraConfig>(section), "method"); },
          .published = lora_published_form()};
}

}  // namespace graft::peft
