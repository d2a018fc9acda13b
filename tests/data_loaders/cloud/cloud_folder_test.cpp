#include "data_loaders/cloud/cloud_folder.h"

#include <gmock/gmock.h>

#include <map>
#include <set>

#include "kernels/base/error.h"
#include "tests/data_loaders/cloud/cloud_samples.h"
#include "tests/support/temp_dir.h"

namespace graft::testing {
namespace {

namespace fs = std::filesystem;
using data::FolderChoice;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CloudFolder : public ::testing::Test {
 protected:
  void add(const std::string& relative, const std::string& text = "1 2 3\n") {
    fs::create_directories((folder_ / relative).parent_path());
    write_text(folder_ / relative, text);
  }
  /// "class: file" of each labelled cloud, relative to the folder.
  std::vector<std::string> labelled(const FolderChoice& choice = {}, const std::string& below = "") {
    const auto clouds = data::labelled_clouds(folder_ / below, choice);
    std::vector<std::string> texts;
    for (size_t i = 0; i < clouds.files.size(); ++i)
      texts.push_back(clouds.classes[static_cast<size_t>(clouds.labels[i])] + ": " + relative(clouds.files[i]));
    return texts;
  }
  std::vector<std::string> unlabelled(const FolderChoice& choice = {}, const std::string& below = "") {
    std::vector<std::string> texts;
    for (const auto& file : data::unlabelled_clouds(folder_ / below, choice)) texts.push_back(relative(file));
    return texts;
  }
  std::string refusal(const FolderChoice& choice = {}) {
    try {
      labelled(choice);
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  }
  std::string relative(const data::CloudFile& file) const { return data::CloudFile{fs::relative(file.path, folder_.path()), file.index}.name(); }
  TempDir folder_;
};

TEST_F(CloudFolder, ClassFolders) {
  add("tree/b.xyz");
  add("tree/a.xyz");
  add("car/c.ply", ply_text());
  add("car/notes.md");
  add(".git/x.xyz");
  EXPECT_THAT(labelled(), ElementsAre("car: car/c.ply", "tree: tree/a.xyz", "tree: tree/b.xyz"));
  EXPECT_THAT(unlabelled(), ElementsAre("car/c.ply", "tree/a.xyz", "tree/b.xyz"));
  EXPECT_THAT(labelled({.classes = {"tree"}}), ElementsAre("tree: tree/a.xyz", "tree: tree/b.xyz"));
  EXPECT_THAT(refusal({.classes = {"trees"}}), HasSubstr("did you mean \"tree\""));
}

TEST_F(CloudFolder, SplitsAboveOrBelowTheClass) {
  add("train/car/a.xyz");
  add("test/car/b.xyz");
  EXPECT_THAT(labelled({.split = "test"}), ElementsAre("car: test/car/b.xyz"));
  EXPECT_THAT(refusal(), HasSubstr("no split is chosen; expected one of test, train"));
  EXPECT_THAT(refusal({.split = "val"}), HasSubstr("no split of that name"));
  add("below/car/train/a.xyz");
  add("below/car/test/b.xyz");
  add("below/bus/train/c.xyz");
  EXPECT_THAT(labelled({.split = "train"}, "below"), ElementsAre("bus: below/bus/train/c.xyz", "car: below/car/train/a.xyz"));
}

TEST_F(CloudFolder, AClassMayBeCalledTrain) {
  add("train/a.xyz");
  add("car/b.xyz");
  EXPECT_THAT(labelled(), ElementsAre("car: car/b.xyz", "train: train/a.xyz"));
}

TEST_F(CloudFolder, IndexGoesBeforeFolders) {
  add("x/1.xyz");
  add("x/2.xyz");
  add("index.csv", "label,file,split,more\ncar,x/2.xyz,train,\"a, \"\"b\"\"\"\ntree,x/1.xyz,test,\n");
  EXPECT_THAT(labelled({.split = "train"}), ElementsAre("car: x/2.xyz"));
  EXPECT_THAT(refusal(), HasSubstr("one of test, train"));
  EXPECT_THAT(refusal({.split = "dev"}), HasSubstr("no row of that split"));
}

TEST_F(CloudFolder, IndexThatIsWrongIsRefusedWithItsLine) {
  add("1.xyz");
  for (const auto& [text, words] : std::vector<std::pair<std::string, std::string>>{{"", "is empty"},
                                                                                    {"file,class\n1.xyz,a\n", "lacks a column"},
                                                                                    {"file,label\n1.xyz\n", "line 2"},
                                                                                    {"file,label\n\n2.xyz,a\n", "line 3"},
                                                                                    {"file,label\n../1.xyz,a\n", "not in the folder"},
                                                                                    {"file,label\n/etc/passwd,a\n", "not in the folder"},
                                                                                    {"file,label\n1.xyz,\n", "is empty"},
                                                                                    {"file,label\n\"1.xyz,a\n", "open quote"}}) {
    add("index.csv", text);
    EXPECT_THAT(refusal(), HasSubstr(words)) << text;
  }
}

TEST_F(CloudFolder, UnlabelledNeverOpensLabels) {
  add("x/1.xyz");
  // Whoever opens these fails: an index that is a folder, and HDF5 without labels.
  fs::create_directories(folder_ / "index.csv");
  fs::create_directories(folder_ / "y");
  write_hdf5(folder_ / "y/many.h5", 2, 4, {});
  EXPECT_THAT(unlabelled(), ElementsAre("x/1.xyz", "y/many.h5#0", "y/many.h5#1"));
  EXPECT_NE(refusal(), "");
  add("files.txt", "y/many.h5#1\n\nx/1.xyz\n");
  EXPECT_THAT(unlabelled(), ElementsAre("y/many.h5#1", "x/1.xyz"));
  add("files.txt", "x/1.xyz\n../x\n");
  EXPECT_THROW(unlabelled(), IoError);
}

TEST_F(CloudFolder, PointDa10) {
  for (const std::string domain : {"modelnet", "shapenet"}) {
    for (const std::string split : {"train", "test"}) {
      for (const std::string name : {"bathtub", "table"})
        add("PointDA_data/" + domain + "/" + name + "/" + split + "/0.npy", npy_file("<f4", "(8, 3)", bytes_of(box_points())));
    }
  }
  add("PointDA_data/scannet/train_files.txt", "data/PointDA_data/scannet/train_0.h5\n");
  add("PointDA_data/scannet/test_files.txt", "test_0.h5\n");
  add("PointDA_data/captions.json", "{}");
  write_hdf5(folder_ / "PointDA_data/scannet/train_0.h5", 3, 4, {9, 0, 9});
  write_hdf5(folder_ / "PointDA_data/scannet/test_0.h5", 1, 4, {4});
  EXPECT_THAT(labelled({.split = "train", .domain = "modelnet"}, "PointDA_data"),
              ElementsAre("bathtub: PointDA_data/modelnet/bathtub/train/0.npy", "table: PointDA_data/modelnet/table/train/0.npy"));
  EXPECT_THAT(labelled({.split = "train", .domain = "scannet"}, "PointDA_data"),
              ElementsAre("table: PointDA_data/scannet/train_0.h5#0", "bathtub: PointDA_data/scannet/train_0.h5#1",
                          "table: PointDA_data/scannet/train_0.h5#2"));
  EXPECT_THAT(labelled({.split = "test", .domain = "scannet"}, "PointDA_data"), ElementsAre("chair: PointDA_data/scannet/test_0.h5#0"));
  EXPECT_THAT(unlabelled({.split = "test", .domain = "shapenet"}, "PointDA_data"),
              ElementsAre("PointDA_data/shapenet/bathtub/test/0.npy", "PointDA_data/shapenet/table/test/0.npy"));
  EXPECT_THAT(unlabelled({.split = "train", .domain = "scannet"}, "PointDA_data").size(), 3u);
}

TEST_F(CloudFolder, GraspNetPc10InBothVariants) {
  for (const std::string split : {"train", "test"}) {
    for (const std::string domain : {"Real", "Synthetic"}) {
      for (const std::string camera : {"kinect", "realsense"}) {
        const std::string end = "/" + camera + "/drill machine/" + camera[0] + ".xyz";
        add("split_first/" + split + "/" + domain + end);
        add("domain_first/" + domain + "/" + split + end);
      }
    }
  }
  for (const std::string variant : {"split_first", "domain_first"}) {
    const auto synthetic = labelled({.split = "train", .domain = "synthetic"}, variant);
    ASSERT_EQ(synthetic.size(), 2u);
    EXPECT_THAT(synthetic[0], HasSubstr("drill machine: " + variant));
    const auto kinect = labelled({.split = "test", .domain = "Real", .camera = "kinect"}, variant);
    ASSERT_EQ(kinect.size(), 1u);
    EXPECT_THAT(kinect[0], HasSubstr("/kinect/drill machine/k.xyz"));
    EXPECT_EQ(unlabelled({.split = "test", .domain = "Real", .camera = "kinect"}, variant).size(), 1u);
  }
}

TEST_F(CloudFolder, NumbersInHdf5GetNames) {
  write_hdf5(folder_ / "bim_train.h5", 2, 4, {1, 0});
  EXPECT_THAT(labelled(), ElementsAre("1: bim_train.h5#0", "0: bim_train.h5#1"));
  EXPECT_THAT(labelled({.classes = {"beam", "wall"}}), ElementsAre("wall: bim_train.h5#0", "beam: bim_train.h5#1"));
  add("classes.txt", "balcony\nbeam\n");
  EXPECT_THAT(labelled({.split = "train"}), ElementsAre("beam: bim_train.h5#0", "balcony: bim_train.h5#1"));
  add("classes.txt", "balcony\n");
  EXPECT_THAT(refusal(), HasSubstr("its label has no name"));
  write_hdf5(folder_ / "bim_test.h5", 1, 4, {0});
  EXPECT_THAT(refusal(), HasSubstr("several splits"));
  write_hdf5(folder_ / "bim_test.h5", 3, 4, {0});
  EXPECT_THAT(refusal({.split = "test"}), HasSubstr("label does not match"));
}

TEST_F(CloudFolder, FoldersThatHoldNothingOrTooMuch) {
  EXPECT_THAT(refusal(), HasSubstr("holds no point clouds"));
  add("car/old/a.xyz");
  EXPECT_THAT(refusal(), HasSubstr("a folder within that of class car"));
  EXPECT_THROW(data::labelled_clouds(folder_ / "nowhere"), InvalidArgument);
}

TEST_F(CloudFolder, ShotsAreDrawnBySeedAndNested) {
  for (int i = 0; i < 12; ++i) add("car/" + std::to_string(i) + ".xyz");
  for (int i = 0; i < 3; ++i) add("tree/" + std::to_string(i) + ".xyz");
  const auto all = data::labelled_clouds(folder_.path());
  const auto four = data::draw_shots(all, 4, 1), eight = data::draw_shots(all, 8, 1);
  EXPECT_EQ(four.size(), 7);
  EXPECT_EQ(eight.size(), 11);
  std::set<std::string> names;
  for (const auto& file : eight.files) names.insert(file.name());
  for (const auto& file : four.files) EXPECT_TRUE(names.contains(file.name()));
  EXPECT_EQ(four.files, data::draw_shots(all, 4, 1).files);
  EXPECT_NE(four.files, data::draw_shots(all, 4, 2).files);
  EXPECT_THROW(data::draw_shots(all, 0, 1), InvalidArgument);
}

}  // namespace
}  // namespace graft::testing
