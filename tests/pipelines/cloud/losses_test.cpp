#include "pipelines/cloud/losses.h"

#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include <cmath>

#include "pipelines/cloud/prototypes.h"
#include "pipelines/cloud/view_choice.h"

namespace graft::pipelines {
namespace {

// The card's values have four or five digits.
constexpr double kDigits = 6e-5;

at::Tensor four_views() { return at::tensor({4., 0., 0., 3., 0., 0., 1., 0., 0., 0., 0., 0.}, at::kFloat).view({1, 4, 3}); }

TEST(ViewChoice, KeepsTheSurerHalf) {
  const auto entropy = entropy_of(four_views())[0];
  for (const auto& [view, value] : {std::pair{0, .1773}, {1, .3666}, {2, .9753}, {3, 1.0986}}) EXPECT_NEAR(entropy[view].item<double>(), value, kDigits);
  const auto kept = kept_views(four_views());
  EXPECT_TRUE(at::equal(kept, at::tensor({1, 1, 0, 0}, at::kInt).to(at::kBool).view({1, 4})));
  EXPECT_TRUE(at::allclose(mean_of_kept(four_views(), kept), at::tensor({3.5f, 0.f, 0.f}).view({1, 3})));
  const auto mean = log_mean_probability(four_views(), kept).exp()[0];
  EXPECT_NEAR(mean[0].item<double>(), .93705, kDigits);
  EXPECT_NEAR(mean[1].item<double>(), .03147, kDigits);
}

TEST(ViewChoice, KeepsAllOfEqualViewsAndTheMiddleOneOfThree) {
  EXPECT_TRUE(kept_views(at::ones({2, 10, 4})).all().item<bool>());
  const auto three = at::tensor({0., 0., 5., 0., 1., 0.}, at::kFloat).view({1, 3, 2});
  EXPECT_TRUE(at::equal(kept_views(three), at::tensor({0, 1, 1}, at::kInt).to(at::kBool).view({1, 3})));
}

TEST(Losses, ConfidenceIsTheEntropyOfTheMeanDistribution) {
  EXPECT_NEAR(confidence_loss(four_views(), kept_views(four_views())).item<double>(), .27863, kDigits);
}

TEST(Losses, ConfidenceAndItsGradientStayFiniteForLogitsThatAreFarApart) {
  const auto logits = (four_views() * 1000).requires_grad_();
  const auto loss = confidence_loss(logits, kept_views(logits));
  loss.backward();
  EXPECT_TRUE(loss.isfinite().item<bool>());
  EXPECT_TRUE(logits.grad().isfinite().all().item<bool>());
  EXPECT_EQ(logits.grad().slice(1, 2).abs().max().item<double>(), 0);  // views that were left out
}

TEST(Losses, OrthogonalTransformsCostNothing) {
  const auto turn = std::get<0>(at::linalg_qr(at::rand({3, 64, 64}, at::kDouble)));
  EXPECT_LT(orthogonality_loss(turn).item<double>(), 1e-12);
  // 2 I: A A' - I = 3 I, of norm 3 sqrt(4).
  EXPECT_NEAR(orthogonality_loss(2 * at::eye(4).unsqueeze(0)).item<double>(), 6, 1e-6);
}

TEST(Losses, EntropyIsOfEachRow) {
  // One sure row and one of two equal chances: (0 + log 2) / 2.
  EXPECT_NEAR(entropy_loss(at::tensor({50., 0., 1., 1.}, at::kFloat).view({2, 2})).item<double>(), std::log(2.) / 2, 1e-6);
}

TEST(Losses, AnAnchorIsLeastWhereNothingHasMoved) {
  const auto logits = at::tensor({1., 2., 0., 0.5, -1., 3.}, at::kDouble).view({2, 3});
  const auto start = at::softmax(logits, 1);
  const double least = anchor_loss(logits, start).item<double>();
  EXPECT_NEAR(least, entropy_loss(logits).item<double>(), 1e-12);
  EXPECT_GT(anchor_loss(logits + at::tensor({0.1, 0., 0.}, at::kDouble), start).item<double>(), least);
}

TEST(Losses, DiversityKnowsHowTheBatchIsSpreadAndNotHowSureItIs) {
  const auto rows = [](std::vector<double> logits, int64_t classes) { return at::tensor(logits, at::kDouble).view({-1, classes}); };
  EXPECT_NEAR(diversity_loss(rows({50, 0, 0, 50}, 2)).item<double>(), 0, 1e-9);                 // sure, and one of each
  EXPECT_NEAR(diversity_loss(rows({0, 0, 0, 0}, 2)).item<double>(), 0, 1e-9);                   // unsure, even so
  EXPECT_NEAR(diversity_loss(rows({90, 0, 90, 0}, 2)).item<double>(), std::log(2.), 1e-9);      // all alike
  // Three of four rows in the first class: log 2 - H(3/4).
  const double h = -(0.75 * std::log(0.75) + 0.25 * std::log(0.25));
  EXPECT_NEAR(diversity_loss(rows({90, 0, 90, 0, 90, 0, 0, 90}, 2)).item<double>(), std::log(2.) - h, 1e-9);
}

/// K unit prototypes, and one feature with the given cosines to the first and to all others.
double prototype_value(double first, double others, double temperature) {
  const int64_t k = 10;
  auto cosine = at::full({k}, others, at::kDouble);
  cosine[0] = first;
  const auto rest = std::sqrt(std::max(0.0, 1 - cosine.square().sum().item<double>()));
  if (rest > 0 || first == 1) {
    const auto prototypes = at::cat({at::eye(k, at::kDouble), at::zeros({k, 1}, at::kDouble)}, 1);
    return prototype_loss(at::cat({cosine, at::full({1}, rest, at::kDouble)}).unsqueeze(0), prototypes, temperature).item<double>();
  }
  // Cosines whose squares sum to more than 1 need prototypes that lean together: each is c u + sqrt(1 - c²) e_i for the feature u.
  const auto c = cosine.unsqueeze(1);
  const auto prototypes = at::cat({c, (1 - c.square()).sqrt() * at::eye(k, at::kDouble)}, 1);
  auto feature = at::zeros({1, k + 1}, at::kDouble);
  feature[0][0] = 1;
  return prototype_loss(feature, prototypes, temperature).item<double>();
}

TEST(Losses, PrototypeLossHasTheCardsValues) {
  EXPECT_NEAR(prototype_value(1, 0, 1), .0466, kDigits);
  EXPECT_NEAR(prototype_value(.9, .6, 1), .0042, kDigits);
}

TEST(Losses, PrototypeLossReachesTheFeaturesAndPassesOverAbsentClasses) {
  const auto prototypes = at::cat({at::eye(3), at::zeros({1, 3})});
  const auto features = at::tensor({.9f, .3f, .1f}).view({1, 3}).requires_grad_();
  const auto loss = prototype_loss(features, prototypes, 0.07);
  loss.backward();
  EXPECT_GT(features.grad().abs().max().item<double>(), 1e-4);
  EXPECT_TRUE(at::allclose(loss, prototype_loss(features, at::eye(3), 0.07)));
  EXPECT_EQ(prototype_loss(features, at::zeros({4, 3}), 0.07).item<double>(), 0);
}

TEST(Prototypes, SureCloudsCountMore) {
  const auto features = at::tensor({1.f, 0.f, 0.f, 1.f}).view({2, 2});
  const auto logits = at::tensor({20.f, 0.f, 0.1f, 0.f}).view({2, 2});  // sure, and hardly sure
  const auto prototypes = class_prototypes(features, logits, at::zeros({2}, at::kLong));
  EXPECT_GT(prototypes[0][0].item<double>(), .99);
  EXPECT_NEAR(prototypes[0].sum().item<double>(), 1, 1e-5);
  EXPECT_EQ(prototypes[1].abs().sum().item<double>(), 0);  // a class without clouds
}

}  // namespace
}  // namespace graft::pipelines
