#include "peft_core/base/text_distance.h"

#include <gtest/gtest.h>

namespace graft {
namespace {

TEST(TextDistance, CountsEdits) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("rank", "rnak"), 1u) << "swapped neighbours are one slip of the fingers";
  EXPECT_EQ(edit_distance("ca", "abc"), 3u);
}

TEST(TextDistance, FindsTheNearestNameOrNone) {
  EXPECT_EQ(nearest_name("max_step", {"max_length", "max_steps", "epochs"}), "max_steps");
  EXPECT_EQ(nearest_name("zebra", {"max_steps", "epochs"}), std::nullopt);
  EXPECT_EQ(nearest_name("x", {"ab", "y"}), std::nullopt);
  EXPECT_EQ(nearest_name("anything", {}), std::nullopt);
}

TEST(TextDistance, SuggestsAndListsAll) {
  EXPECT_EQ(suggest("lroa", {"lora", "bitfit"}), "did you mean \"lora\"? known: lora, bitfit");
  EXPECT_EQ(suggest("zzzz", {"lora", "bitfit"}), "known: lora, bitfit");
}

}  // namespace
}  // namespace graft
