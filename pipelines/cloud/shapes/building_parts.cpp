#include "pipelines/cloud/shapes/makers.h"

namespace graft::pipelines::shapes {
namespace {

/// A frame of four bars in the x-z plane.
void frame(Surface& surface, float bottom, float width, float height, float bar, float depth) {
  for (const float x : {-1.0f, 1.0f}) surface.box(x * (width - bar) / 2, 0, bottom, bar, depth, height);
  surface.box(0, 0, bottom, width, depth, bar), surface.box(0, 0, bottom + height - bar, width, depth, bar);
}

}  // namespace

void door(Surface& surface, Dice& dice) {
  const float width = dice.between(0.7f, 1.2f), height = dice.between(1.9f, 2.3f), depth = dice.between(0.04f, 0.15f);
  frame(surface, 0, width * 1.15f, height * 1.05f, width * 0.08f, depth * 1.6f);
  const size_t first = surface.size();
  surface.box(0, 0, 0, width, depth * 0.5f, height);
  if (dice.chance(0.5)) surface.box(0, 0, height * 0.55f, width * 0.7f, depth, height * 0.35f), surface.box(0, 0, height * 0.08f, width * 0.7f, depth, height * 0.35f);
  surface.ellipsoid({width * 0.4f, -depth, height * 0.47f}, 0.04f, 0.04f, 0.04f);
  if (dice.chance(0.3)) surface.turn(first, -width / 2, 0, dice.between(-1.5f, 1.5f));  // ajar
}

void beam(Surface& surface, Dice& dice) {
  const float length = dice.between(2, 8), height = length * dice.between(0.04f, 0.15f), width = height * dice.between(0.5f, 1.1f);
  if (dice.chance(0.6)) return surface.box(0, 0, 0, length, width, height);
  for (const float z : {0.0f, 0.85f}) surface.box(0, 0, z * height, length, width, height * 0.15f);  // an I profile
  surface.box(0, 0, 0, length, width * 0.12f, height);
}

void column(Surface& surface, Dice& dice) {
  const float height = dice.between(2, 6), width = height * dice.between(0.06f, 0.22f);
  if (dice.chance(0.5)) surface.box(0, 0, 0, width, width * dice.between(0.7f, 1), height);
  else surface.frustum({0, 0, 0}, {0, 0, height}, width / 2, width * dice.between(0.38f, 0.5f));
  if (!dice.chance(0.4)) return;
  surface.box(0, 0, 0, width * 1.5f, width * 1.5f, height * 0.06f);
  surface.box(0, 0, height * 0.94f, width * 1.5f, width * 1.5f, height * 0.06f);
}

void floor_slab(Surface& surface, Dice& dice) {
  const float length = dice.between(3, 10), width = length * dice.between(0.4f, 1), thick = length * dice.between(0.005f, 0.04f);
  surface.box(0, 0, 0, length, width, thick);
  if (dice.chance(0.35)) surface.box(length * 0.4f, width * dice.between(0.4f, 0.7f), 0, length * dice.between(0.2f, 0.5f), width * 0.5f, thick);
}

void roof(Surface& surface, Dice& dice) {
  const float width = dice.between(4, 12), length = width * dice.between(1, 2), height = width * dice.between(0.15f, 0.6f);
  surface.ridge_roof(0, 0, 0, length, width, height, dice.chance(0.4) ? width * dice.between(0.2f, 0.6f) : 0);
  if (dice.chance(0.25)) surface.box(length * 0.2f, width * 0.15f, height * 0.4f, 0.6f, 0.6f, height * 0.8f);
}

void stairs(Surface& surface, Dice& dice) {
  const int64_t steps = dice.number(4, 16);
  const float tread = dice.between(0.22f, 0.32f), rise = dice.between(0.14f, 0.2f), width = dice.between(0.8f, 2);
  const bool solid = dice.chance(0.6), rail = dice.chance(0.4);
  for (int64_t i = 0; i < steps; ++i) {
    const float x = tread * static_cast<float>(i), z = rise * static_cast<float>(i);
    surface.box(x, 0, solid ? 0 : z, tread, width, solid ? z + rise : rise * 0.3f);
    if (rail) surface.box(x, width / 2, z + rise, 0.03f, 0.03f, 0.9f);
  }
  const float end = tread * static_cast<float>(steps - 1), top = rise * static_cast<float>(steps);
  if (rail) surface.frustum({0, width / 2, rise + 0.9f}, {end, width / 2, top + 0.9f}, 0.03f, 0.03f, 6);
  if (dice.chance(0.3)) surface.box(end + width / 2, 0, top - 0.1f, width, width, 0.1f);  // a landing
}

void wall(Surface& surface, Dice& dice) {
  const float length = dice.between(2, 8), height = dice.between(2, 3.5f), thick = dice.between(0.08f, 0.35f);
  if (!dice.chance(0.35)) return surface.box(0, 0, 0, length, thick, height);
  const float gap = length * dice.between(0.15f, 0.3f), left = (length - gap) * dice.between(0.3f, 0.6f), lintel = height * dice.between(0.1f, 0.3f);
  surface.box(-length / 2 + left / 2, 0, 0, left, thick, height);
  surface.box(length / 2 - (length - gap - left) / 2, 0, 0, length - gap - left, thick, height);
  surface.box(0, 0, height - lintel, length, thick, lintel);
}

void window(Surface& surface, Dice& dice) {
  const float width = dice.between(0.6f, 2), height = dice.between(0.7f, 1.8f), bar = dice.between(0.04f, 0.1f), depth = dice.between(0.05f, 0.2f);
  frame(surface, 0, width, height, bar, depth);
  for (int64_t i = 1, n = dice.number(1, 4); i < n; ++i) surface.box(width * (static_cast<float>(i) / static_cast<float>(n) - 0.5f), 0, 0, bar, depth * 0.7f, height);
  for (int64_t i = 1, n = dice.number(1, 3); i < n; ++i) surface.box(0, 0, height * static_cast<float>(i) / static_cast<float>(n), width, depth * 0.7f, bar);
  if (dice.chance(0.5)) surface.quad({-width / 2, 0, 0}, {width / 2, 0, 0}, {width / 2, 0, height}, {-width / 2, 0, height});  // the pane
  if (dice.chance(0.4)) surface.box(0, -depth, -bar, width * 1.15f, depth * 2, bar);
}

void balcony(Surface& surface, Dice& dice) {
  const float length = dice.between(1.5f, 5), depth = dice.between(0.9f, 2), rail = dice.between(0.9f, 1.2f);
  surface.box(0, 0, 0, length, depth, dice.between(0.1f, 0.25f));
  if (dice.chance(0.4)) {
    surface.box(0, -depth / 2, 0, length, 0.05f, rail);
    for (const float x : {-0.5f, 0.5f}) surface.box(x * length, 0, 0, 0.05f, depth, rail);
    return;
  }
  const auto bars = dice.number(6, 16);
  for (int64_t i = 0; i <= bars; ++i) surface.box(length * (static_cast<float>(i) / static_cast<float>(bars) - 0.5f), -depth / 2, 0, 0.03f, 0.03f, rail);
  for (int64_t i = 0; i < bars / 2; ++i)
    for (const float x : {-0.5f, 0.5f}) surface.box(x * length, depth * (2 * static_cast<float>(i) / static_cast<float>(bars) - 0.5f), 0, 0.03f, 0.03f, rail);
  surface.box(0, -depth / 2, rail, length, 0.06f, 0.05f);
  for (const float x : {-0.5f, 0.5f}) surface.box(x * length, 0, rail, 0.06f, depth, 0.05f);
}

}  // namespace graft::pipelines::shapes
