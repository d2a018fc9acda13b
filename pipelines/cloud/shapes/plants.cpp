#include "pipelines/cloud/shapes/makers.h"

namespace graft::pipelines::shapes {
namespace {

/// Foliage as a closed skin (drawn models) or as strewn leaves (what a laser meets).
void crown(Surface& surface, Dice& dice, const Point& middle, float rx, float ry, float rz, bool leafy) {
  if (leafy) surface.leaves(dice, middle, rx, ry, rz, 240);
  else surface.ellipsoid(middle, rx, ry, rz);
}

void trunk(Surface& surface, Dice& dice, float height) {
  const float radius = height * dice.between(0.03f, 0.12f);
  surface.frustum({0, 0, 0}, {0, 0, height}, radius, radius * dice.between(0.5f, 1), 8);
}

}  // namespace

void conifer(Surface& surface, Dice& dice) {
  const float height = dice.between(4, 20), bottom = height * dice.between(0.05f, 0.25f), radius = height * dice.between(0.15f, 0.35f);
  trunk(surface, dice, bottom * 1.5f);
  const int64_t tiers = dice.number(1, 5);
  const bool leafy = dice.chance(0.4);
  for (int64_t i = 0; i < tiers; ++i) {
    const float from = bottom + (height - bottom) * static_cast<float>(i) / static_cast<float>(tiers);
    const float shrink = 1 - static_cast<float>(i) / static_cast<float>(tiers + 1), tier = (height - from) * (tiers == 1 ? 1 : 0.6f);
    if (leafy) surface.leaves(dice, {0, 0, from + tier / 2}, radius * shrink * 0.8f, radius * shrink * 0.8f, tier / 2, 80);
    else surface.frustum({0, 0, from}, {0, 0, from + tier}, radius * shrink, 0);
  }
}

void round_tree(Surface& surface, Dice& dice) {
  const float height = dice.between(3, 16), bottom = height * dice.between(0.1f, 0.45f), radius = height * dice.between(0.2f, 0.55f);
  trunk(surface, dice, bottom * 1.3f);
  const bool leafy = dice.chance(0.5);
  const float rz = (height - bottom) / 2, z = bottom + rz;
  const int64_t lumps = dice.number(1, 6);
  crown(surface, dice, {0, 0, z}, radius, radius * dice.between(0.8f, 1.2f), rz, leafy);
  for (int64_t i = 1; i < lumps; ++i) {
    const float part = dice.between(0.4f, 0.75f);
    crown(surface, dice, {radius * dice.between(-0.7f, 0.7f), radius * dice.between(-0.7f, 0.7f), z + rz * dice.between(-0.5f, 0.5f)}, radius * part,
          radius * part, rz * part, leafy);
  }
}

void palm(Surface& surface, Dice& dice) {
  const float height = dice.between(4, 14), lean = height * dice.between(-0.15f, 0.15f), radius = height * dice.between(0.02f, 0.04f);
  surface.frustum({0, 0, 0}, {lean, 0, height}, radius * 1.4f, radius, 8);
  const int64_t fronds = dice.number(6, 12);
  const float reach = height * dice.between(0.2f, 0.4f), width = reach * 0.15f, droop = dice.between(0.2f, 0.8f);
  for (int64_t i = 0; i < fronds; ++i) {
    const size_t first = surface.size();
    const float rise = reach * dice.between(0.1f, 0.3f);
    surface.quad({lean, -width, height}, {lean, width, height}, {lean + reach * 0.5f, width, height + rise}, {lean + reach * 0.5f, -width, height + rise});
    surface.triangle({lean + reach * 0.5f, -width, height + rise}, {lean + reach * 0.5f, width, height + rise}, {lean + reach, 0, height - droop * reach * 0.5f});
    surface.turn(first, lean, 0, 6.2832f * static_cast<float>(i) / static_cast<float>(fronds));
  }
}

void bush(Surface& surface, Dice& dice) {
  const float radius = dice.between(0.4f, 1.5f);
  const bool leafy = dice.chance(0.6);
  for (int64_t i = dice.number(1, 4); i > 0; --i) {
    const float rz = radius * dice.between(0.5f, 0.9f);
    crown(surface, dice, {radius * dice.between(-0.6f, 0.6f), radius * dice.between(-0.6f, 0.6f), rz * 0.8f}, radius * dice.between(0.5f, 1),
          radius * dice.between(0.5f, 1), rz, leafy);
  }
}

void pot_plant(Surface& surface, Dice& dice) {
  const float pot = dice.between(0.15f, 0.4f), height = pot * dice.between(1.5f, 4);
  surface.frustum({0, 0, 0}, {0, 0, pot}, pot * dice.between(0.3f, 0.5f), pot * 0.55f);
  if (dice.chance(0.4)) return crown(surface, dice, {0, 0, pot + height / 2}, height * 0.4f, height * 0.4f, height / 2, dice.chance(0.5));
  for (int64_t i = dice.number(5, 14); i > 0; --i) {
    const float angle = dice.between(0, 6.2832f), reach = height * dice.between(0.1f, 0.6f), top = pot + height * dice.between(0.4f, 1);
    const float x = reach * std::cos(angle), y = reach * std::sin(angle), leaf = height * 0.12f;
    surface.quad({0, 0, pot}, {x - leaf, y, (top + pot) / 2}, {x * 1.3f, y * 1.3f, top}, {x, y + leaf, (top + pot) / 2});
  }
}

}  // namespace graft::pipelines::shapes
