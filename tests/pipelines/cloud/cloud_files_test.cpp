#include <gmock/gmock.h>
#include <png.h>

#include <cstring>

#include "data_loaders/cloud/read_cloud.h"
#include "data_loaders/cloud/up_axis.h"
#include "kernels/base/error.h"
#include "pipelines/cloud/cloud_report.h"
#include "pipelines/cloud/labelled_cloud.h"
#include "pipelines/cloud/picture.h"
#include "tests/support/temp_dir.h"

namespace graft::pipelines {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TempDir;

data::PointCloud three_points() {
  data::PointCloud cloud;
  cloud.source = "<script>alert(1)</script>.ply";
  cloud.points = {0, 0, 0, 1, 2, 3, -4, 5, 0.25f};
  cloud.labels = {0, kUnlabelled, kNoneOfThese};
  return cloud;
}

class LabelledCloudFile : public ::testing::TestWithParam<const char*> {};

TEST_P(LabelledCloudFile, ComesBack) {
  const TempDir folder;
  const std::vector<std::string> classes = {"car\nelement face 3", "tree"};
  const auto file = folder.path() / GetParam();
  (file.extension() == ".ply" ? write_labelled_ply : write_labelled_pcd)(file, three_points(), classes);
  data::PointCloud read;
  try {
    read = data::read_cloud({file, -1});
  } catch (const Error& error) {
    if (std::string(error.what()).find("needs the library PCL") != std::string::npos) GTEST_SKIP() << "built without PCL";
    throw;
  }
  EXPECT_EQ(read.points, three_points().points);
  EXPECT_EQ(read.labels, three_points().labels);
  const auto colour = colour_of_label(0);
  ASSERT_EQ(read.colours.size(), 9u);
  EXPECT_TRUE(std::equal(colour.begin(), colour.end(), read.colours.begin()));
}

INSTANTIATE_TEST_SUITE_P(Formats, LabelledCloudFile, ::testing::Values("a.ply", "a.pcd"));

TEST(LabelledCloud, FarOnesKeepTheirPlaceInPly) {
  const TempDir folder;
  auto cloud = three_points();
  cloud.origin = {450000, 5200000, 300};
  write_labelled_ply(folder / "far.ply", cloud, {});
  const auto read = data::read_cloud({folder / "far.ply", -1});
  for (int64_t i = 0; i < 3; ++i)
    for (size_t axis = 0; axis < 3; ++axis) EXPECT_NEAR(read.position(i)[axis], cloud.position(i)[axis], 1e-6);  // float near its own origin
}

TEST(LabelledCloud, NeedsALabelForEachPoint) {
  auto cloud = three_points();
  cloud.labels.pop_back();
  EXPECT_THROW(write_labelled_ply("/tmp/never.ply", cloud, {}), InvalidArgument);
}

TEST(LabelledCloud, TurnsBackWhatWasTurned) {
  auto cloud = three_points();
  cloud.origin = {10, 20, 30};
  for (const auto up : {data::UpAxis::kX, data::UpAxis::kY, data::UpAxis::kZ}) {
    const auto back = turned_back(data::with_z_up(cloud, up), up);
    EXPECT_EQ(back.points, cloud.points) << data::name_of(up);
    EXPECT_EQ(back.origin, cloud.origin) << data::name_of(up);
  }
}

TEST(LabelledCloud, ColoursDiffer) {
  for (int32_t a = kNoneOfThese; a < 24; ++a)
    for (int32_t b = kNoneOfThese; b < a; ++b) EXPECT_NE(colour_of_label(a), colour_of_label(b)) << a << " " << b;
}

Picture read_png(const std::string& bytes) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  EXPECT_NE(png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()), 0);
  image.format = PNG_FORMAT_RGB;
  Picture picture{image.width, image.height, std::vector<uint8_t>(PNG_IMAGE_SIZE(image))};
  EXPECT_NE(png_image_finish_read(&image, nullptr, picture.pixels.data(), 0, nullptr), 0);
  return picture;
}

TEST(Picture, GreyValuesSurvivePng) {
  const std::vector<float> values = {0, 1, 0.5f, 2};  // 2 is cut off
  const auto picture = grey_picture(values, 2);
  const auto back = read_png(png_bytes(picture));
  EXPECT_EQ(back.width, 2);
  EXPECT_THAT(back.pixels, ElementsAre(0, 0, 0, 255, 255, 255, 128, 128, 128, 255, 255, 255));
}

TEST(Picture, SheetFramesWhatIsAsked) {
  const std::vector<Picture> pictures(3, Picture::blank(4, 4, {1, 2, 3}));
  const auto sheet = sheet_of(pictures, 2, {true, false, false}, {200, 0, 0});
  EXPECT_EQ(sheet.width, 2 * 10 + 6);
  EXPECT_EQ(sheet.height, 2 * 10 + 6);
  const auto at = [&](int64_t x, int64_t y) { return sheet.pixels[static_cast<size_t>(3 * (y * sheet.width + x))]; };
  EXPECT_EQ(at(6, 6), 1);
  EXPECT_EQ(at(5, 6), 200);   // the first one's frame
  EXPECT_EQ(at(15, 6), 255);  // none around the second
  EXPECT_EQ(at(25, 25), 255); // the empty place
}

TEST(Picture, Base64) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");  // the examples of RFC 4648
}

TEST(CloudReport, HoldsEverythingAndLoadsNothing) {
  CloudReport report;
  report.title = "3 clouds & more";
  report.counts = {{"<i>car</i>", 2, {1, 2, 3}}};
  ShownCloud shown;
  shown.name = three_points().source;
  shown.answer = "car, 93 %";
  shown.top = {{"car", .93}};
  shown.cloud = three_points();
  report.shown = {shown};
  report.read = {{.file = "bad.ply", .points = "", .up = "", .result = "no header", .note = "", .skipped = true}};
  const auto html = cloud_report_html(report);
  EXPECT_THAT(html, HasSubstr("3 clouds &amp; more"));
  EXPECT_THAT(html, HasSubstr("no header"));
  EXPECT_THAT(html, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(html, Not(HasSubstr("<i>car")));
  for (const char* address : {"http:", "https:", "@import", "url("}) EXPECT_THAT(html, Not(HasSubstr(address))) << address;
}

TEST(CloudReport, APageWithoutCloudsHasNoScript) {
  EXPECT_THAT(cloud_report_html({.title = "none"}), Not(HasSubstr("<script")));
}

}  // namespace
}  // namespace graft::pipelines
