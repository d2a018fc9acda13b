#include "pipelines/cloud/shapes/shapes.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "kernels/base/error.h"
#include "pipelines/cloud/shapes/makers.h"
#include "pipelines/cloud/shapes/scan.h"

namespace graft::pipelines {
namespace {

struct Kind {
  ShapeFamily family;
  shapes::Maker maker;
};

const std::vector<Kind>& kinds() {
  using namespace shapes;
  static const std::vector<Kind> all = {
      {{"house", {"house", "building", "home"}}, house},
      {{"tower", {"tower", "building"}}, tower},
      {{"block", {"block of flats", "building", "hall"}}, block},
      {{"car", {"car", "automobile", "vehicle"}}, car},
      {{"truck", {"truck", "lorry", "vehicle"}}, truck},
      {{"bus", {"bus", "coach", "vehicle"}}, bus},
      {{"fence", {"fence", "railing"}}, fence},
      {{"pole", {"pole", "power pole", "mast"}}, pole},
      {{"lamp post", {"lamp post", "street light", "pole"}}, lamp_post},
      {{"sign", {"sign", "traffic sign"}}, sign},
      {{"conifer", {"conifer", "tree", "fir"}}, conifer},
      {{"broadleaf", {"broadleaf", "tree", "oak"}}, round_tree},
      {{"palm", {"palm", "tree"}}, palm},
      {{"bush", {"bush", "shrub"}}, bush},
      {{"plant", {"plant", "flower pot", "pot plant"}}, pot_plant},
      {{"chair", {"chair", "seat"}}, chair},
      {{"table", {"table", "desk"}}, table},
      {{"bed", {"bed"}}, bed},
      {{"sofa", {"sofa", "couch"}}, sofa},
      {{"bookshelf", {"bookshelf", "shelf"}}, bookshelf},
      {{"lamp", {"lamp", "light"}}, lamp},
      {{"toilet", {"toilet"}}, toilet},
      {{"bathtub", {"bathtub", "tub"}}, bathtub},
      {{"dresser", {"dresser", "cabinet", "chest of drawers"}}, dresser},
      {{"night stand", {"night stand", "bedside cabinet"}}, night_stand},
      {{"monitor", {"monitor", "screen"}}, monitor},
      {{"door", {"door"}}, door},
      {{"beam", {"beam", "girder"}}, beam},
      {{"column", {"column", "pillar"}}, column},
      {{"floor", {"floor", "slab"}}, floor_slab},
      {{"roof", {"roof"}}, roof},
      {{"stairs", {"stairs", "staircase", "steps"}}, stairs},
      {{"wall", {"wall"}}, wall},
      {{"window", {"window"}}, window},
      {{"balcony", {"balcony"}}, balcony},
      {{"box", {"box", "cube"}}, cube},
      {{"sphere", {"sphere", "ball"}}, sphere},
      {{"cylinder", {"cylinder", "can"}}, cylinder},
      {{"cone", {"cone"}}, cone},
      {{"torus", {"torus", "ring"}}, torus},
      {{"plane", {"plane", "sheet"}}, plane},
  };
  return all;
}

const std::vector<std::string>& templates() {
  static const std::vector<std::string> all = {
      "a depth map of a {}", "a point cloud of a {}", "a {}", "{}", "a scan of a {}", "a 3D model of a {}", "a depth map of a {} 3D model",
      "point cloud depth map of a {}.", "a photo of a {}.", "an object that looks like a {}", "a picture of one {}", "this is a {}",
      "a laser scan of a {}", "a grayscale depth map of a {}", "a small {}", "a large {}", "the shape of a {}"};
  return all;
}

const Kind& kind(int64_t family) {
  if (family < 0 || family >= std::ssize(kinds()))
    throw InvalidArgument({.where = "shape family", .what = "is not there", .expected = "0.." + std::to_string(kinds().size() - 1),
                           .got = std::to_string(family)});
  return kinds()[static_cast<size_t>(family)];
}

/// Centred, the longest side 1: pictures do not change by it, and sums of squares keep their digits.
void bring_to_size(std::vector<float>& points) {
  shapes::Point low{points[0], points[1], points[2]}, high = low;
  for (size_t i = 0; i < points.size(); ++i) low[i % 3] = std::min(low[i % 3], points[i]), high[i % 3] = std::max(high[i % 3], points[i]);
  const float side = std::max({high[0] - low[0], high[1] - low[1], high[2] - low[2], 1e-6f});
  for (size_t i = 0; i < points.size(); ++i) points[i] = (points[i] - (low[i % 3] + high[i % 3]) / 2) / side;
}

}  // namespace

const std::vector<ShapeFamily>& shape_families() {
  static const auto all = [] {
    std::vector<ShapeFamily> families;
    for (const auto& kind : kinds()) families.push_back(kind.family);
    return families;
  }();
  return all;
}

bool names_family(const std::string& word, int64_t family) {
  const auto& words = kind(family).family.words;
  return std::find(words.begin(), words.end(), word) != words.end();
}

data::PointCloud make_shape(int64_t family, uint64_t seed, const ShapeOptions& options) {
  const auto& made = kind(family);
  if (options.points < shapes::kFewestPoints)
    throw InvalidArgument({.where = "points of a shape", .what = "are too few", .expected = std::to_string(shapes::kFewestPoints) + " or more",
                           .got = std::to_string(options.points)});
  shapes::Dice dice(RandomStream(seed, "shape:" + made.family.name));
  shapes::Surface surface;
  made.maker(surface, dice);
  surface.turn(0, 0, 0, dice.between(0, 6.2832f));
  data::PointCloud cloud;
  // A scan hides most of a body, so that more is drawn than stays.
  cloud.points = options.scan ? shapes::scanned(surface.draw(dice, 2 * options.points), options.points, dice) : surface.draw(dice, options.points);
  bring_to_size(cloud.points);
  cloud.up = data::UpAxis::kZ;
  cloud.source = made.family.name + "#" + std::to_string(seed);
  return cloud;
}

data::PointCloud as_scanned(data::PointCloud cloud, uint64_t seed) {
  if (cloud.points.empty()) return cloud;
  shapes::Dice dice(RandomStream(seed, "scan"));
  const auto most = std::max(cloud.size(), shapes::kFewestPoints);
  cloud.points = shapes::scanned(std::move(cloud.points), most, dice);
  return cloud;
}

Caption caption_of(int64_t family, uint64_t seed) {
  const auto& words = kind(family).family.words;
  RandomStream stream(seed, "caption");
  // The first words, which are the usual ones, come more often.
  const auto pick = std::min(stream.below(words.size()), stream.below(words.size() + 1));
  auto text = templates()[static_cast<size_t>(stream.below(templates().size()))];
  text.replace(text.find("{}"), 2, words[static_cast<size_t>(pick)]);
  return {text, words[static_cast<size_t>(pick)]};
}

std::vector<std::string> caption_words() {
  std::set<std::string> words;
  const auto add = [&](std::string text) {
    for (auto& c : text) c = c == '.' || c == '{' || c == '}' ? ' ' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    std::istringstream parts(text);
    for (std::string word; parts >> word;) words.insert(word);
  };
  for (const auto& text : templates()) add(text);
  for (const auto& kind : kinds())
    for (const auto& word : kind.family.words) add(word);
  return {words.begin(), words.end()};
}

}  // namespace graft::pipelines
