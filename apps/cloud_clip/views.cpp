#include <nlohmann/json.hpp>

#include "apps/cloud_clip/commands.h"
#include "apps/cloud_clip/predictions.h"
#include "peft_core/base/json_files.h"
#include "pipelines/cloud/cloud_views.h"

namespace graft::apps::cloud {

using namespace pipelines;

namespace {

constexpr int64_t kSide = 224;  // what CLIP's image towers take

void write_views(const std::filesystem::path& folder, const data::PointCloud& cloud, Projection projection) {
  std::filesystem::create_directories(folder);
  const auto views = shown_views(draw_views({&cloud, 1}, kSide, projection), projection);
  const auto pictures = view_pictures(views, 0);
  for (size_t m = 0; m < pictures.size(); ++m) write_png(folder / ((m < 9 ? "view_0" : "view_") + std::to_string(m + 1) + ".png"), pictures[m]);
  write_png(folder / "sheet.png", views_sheet(views, 0, {}));
}

}  // namespace

void views(const Invocation& call) {
  const auto settings = read_zero_shot_settings(call);
  CloudInput input(call.input, settings.input, static_cast<uint64_t>(settings.run.seed));
  auto drawn = nlohmann::ordered_json::array();
  for (int64_t i = 0; i < input.size(); ++i) {
    const auto cloud = input.read(i);
    if (!cloud) continue;
    const std::filesystem::path folder = call.out_dir;
    const auto own = input.size() == 1 ? folder : folder / (std::to_string(i + 1) + "_" + plain_name(cloud->source));
    write_views(own, *cloud, settings.zero_shot.projection);
    drawn.push_back({{"file", cloud->source}, {"folder", own.string()}, {"points", cloud->size()}, {"up", data::name_of(input.up_of(i))}});
  }
  for (const auto& line : input.lines())
    if (!line.reason.empty() && !call.quiet) *call.err << "left out: " << line.reason << "\n";
  input.expect_some();
  *call.out << to_json_line({{"drawn", drawn}, {"skipped", input.skipped()}}) << "\n";
}

}  // namespace graft::apps::cloud
