#include "pipelines/cloud/shapes/makers.h"

namespace graft::pipelines::shapes {

void cube(Surface& surface, Dice& dice) { surface.box(0, 0, 0, dice.between(0.7f, 1.2f), dice.between(0.7f, 1.2f), dice.between(0.5f, 1.2f)); }

void sphere(Surface& surface, Dice& dice) {
  const float radius = dice.between(0.3f, 1);
  surface.ellipsoid({0, 0, radius}, radius, radius * dice.between(0.9f, 1), radius * dice.between(0.9f, 1));
}

void cylinder(Surface& surface, Dice& dice) {
  const float radius = dice.between(0.3f, 0.6f), height = radius * dice.between(1, 4);
  if (dice.chance(0.3)) surface.frustum({-height / 2, 0, radius}, {height / 2, 0, radius}, radius, radius, 20);
  else surface.frustum({0, 0, 0}, {0, 0, height}, radius, radius, 20);
}

void cone(Surface& surface, Dice& dice) {
  const float radius = dice.between(0.3f, 0.8f);
  surface.frustum({0, 0, 0}, {0, 0, radius * dice.between(1.2f, 3)}, radius, 0, 20);
}

void torus(Surface& surface, Dice& dice) {
  const float ring = dice.between(0.5f, 1), tube = ring * dice.between(0.1f, 0.35f);
  surface.torus({0, 0, tube}, ring, tube);
}

void plane(Surface& surface, Dice& dice) {
  const float l = dice.between(0.5f, 1), w = l * dice.between(0.5f, 1), tilt = dice.between(0, 0.9f);
  surface.quad({-l, -w, 0}, {l, -w, 0}, {l, w, 2 * w * tilt}, {-l, w, 2 * w * tilt});
}

}  // namespace graft::pipelines::shapes
