#include "pipelines/cloud/shapes/shapes.h"

#include <nlohmann/json.hpp>
#include <set>

#include "apps/cloud_clip/cloud_labeller.h"
#include "apps/cloud_clip/commands.h"
#include "apps/cloud_clip/prepared_folder.h"
#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/base/json_files.h"
#include "peft_core/base/rng.h"
#include "peft_core/base/text_distance.h"
#include "peft_core/checkpoint/staged_folder.h"

namespace graft::apps::cloud {
namespace {

using namespace pipelines;

/// The section `shapes`.
struct MadeShapes {
  int64_t each = 20, points = 2048;
  bool scanned = false;

  template <class V>
  void visit(V& v) {
    v("each", each, "clouds of each class");
    v("points", points, "of a cloud; a scan may have fewer");
    v("scanned", scanned, "as a sensor sees the objects: sparse, noisy, partly hidden");
  }
};

std::vector<int64_t> families_called(const std::string& word) {
  std::vector<int64_t> found;
  std::set<std::string> words;
  for (int64_t family = 0; family < std::ssize(shape_families()); ++family) {
    const auto& known = shape_families()[static_cast<size_t>(family)].words;
    words.insert(known.begin(), known.end());
    if (names_family(word, family)) found.push_back(family);
  }
  if (found.empty())
    throw InvalidArgument({.where = "--classes", .what = "names '" + word + "', which the program cannot make",
                           .hint = suggest(word, {words.begin(), words.end()})});
  return found;
}

}  // namespace

void shapes(const Invocation& call) {
  expect_sections(call.config, {"shapes", "train"});  // --seed writes train.seed
  const auto settings = read_config<MadeShapes>(call.config, "shapes");
  expect_range("shapes.each", static_cast<double>(settings.each), 1, 1e5);
  const auto seed = static_cast<uint64_t>(call.seed.value_or(42));
  std::vector<std::string> classes;
  for (const auto& named : classes_of(call)) classes.push_back(named.name);
  peft::StagedFolder folder(call.out_dir);
  PreparedFolder prepared(folder.path(), classes);
  for (size_t label = 0; label < classes.size(); ++label) {
    const auto families = families_called(classes[label]);
    for (int64_t i = 0; i < settings.each; ++i) {
      const auto family = families[static_cast<size_t>(i) % families.size()];
      prepared.add(make_shape(family, stream_seed(seed, classes[label], static_cast<uint64_t>(i)), {.points = settings.points, .scan = settings.scanned}),
                   static_cast<int64_t>(label));
    }
  }
  prepared.finish();
  folder.commit();
  *call.out << to_json_line({{"out", call.out_dir}, {"clouds", prepared.count()}, {"points", prepared.points()}, {"classes", classes}}) << "\n";
}

std::string shapes_settings_help() { return config_help<MadeShapes>("shapes"); }

}  // namespace graft::apps::cloud
