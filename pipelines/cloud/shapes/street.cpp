#include "pipelines/cloud/shapes/makers.h"

namespace graft::pipelines::shapes {
namespace {

/// A wheel whose axle lies along y.
void wheel(Surface& surface, float x, float y, float radius, float width) {
  surface.frustum({x, y - width / 2, radius}, {x, y + width / 2, radius}, radius, radius, 10);
}

void wheels(Surface& surface, float length, float width, float radius, int64_t axles) {
  for (int64_t i = 0; i < axles; ++i) {
    const float x = axles == 1 ? 0 : length * (-0.32f + 0.64f * static_cast<float>(i) / static_cast<float>(axles - 1));
    for (const float side : {-1.0f, 1.0f}) wheel(surface, x, side * width * 0.46f, radius, width * 0.12f);
  }
}

void roofed(Surface& surface, Dice& dice, float x, float y, float length, float width, float height) {
  surface.box(x, y, 0, length, width, height);
  const float over = dice.between(1.0f, 1.12f), rise = width * dice.between(0.12f, 0.6f);
  const int64_t kind = dice.number(0, 3);
  if (kind == 0) return;  // flat
  surface.ridge_roof(x, y, height, length * over, width * over, rise, kind == 1 ? width * dice.between(0.3f, 0.6f) : 0);
}

/// A lower part at one of the long sides of a house, along it or across.
void wing(Surface& surface, Dice& dice, float length, float width, float height) {
  const size_t first = surface.size();
  const float x = dice.between(-0.45f, 0.45f) * length, y = (dice.chance(0.5) ? 1.0f : -1.0f) * width * dice.between(0.4f, 0.75f);
  roofed(surface, dice, x, y, width * dice.between(0.5f, 1.1f), width * dice.between(0.4f, 0.8f), height * dice.between(0.5f, 1.0f));
  if (dice.chance(0.7)) surface.turn(first, x, y, 1.5708f);
}

}  // namespace

void house(Surface& surface, Dice& dice) {
  const float width = dice.between(5, 12), length = width * dice.between(1, 2), height = width * dice.between(0.3f, 1.1f);
  roofed(surface, dice, 0, 0, length, width, height);
  for (int64_t wings = dice.chance(0.5) ? 0 : dice.number(1, 3); wings > 0; --wings) wing(surface, dice, length, width, height);
  if (dice.chance(0.35)) surface.box(dice.between(-0.3f, 0.3f) * length, width * 0.15f, height, 0.9f, 0.9f, width * dice.between(0.3f, 0.55f));
  if (dice.chance(0.3)) surface.box(length * 0.3f, -width * 0.58f, 0, length * 0.25f, width * 0.16f, height * 0.6f);  // a porch
}

void tower(Surface& surface, Dice& dice) {
  float width = dice.between(4, 14), bottom = 0;
  const int64_t steps = dice.number(1, 3);
  const bool is_round = dice.chance(0.3);
  for (int64_t i = 0; i < steps; ++i) {
    const float height = width * dice.between(1.3f, 3.0f);
    if (is_round) surface.frustum({0, 0, bottom}, {0, 0, bottom + height}, width / 2, width / 2);
    else surface.box(0, 0, bottom, width, width * dice.between(0.7f, 1.0f), height);
    bottom += height;
    width *= dice.between(0.5f, 0.9f);
  }
  if (dice.chance(0.4)) surface.frustum({0, 0, bottom}, {0, 0, bottom + width}, width * 0.6f, 0);
}

void block(Surface& surface, Dice& dice) {
  const float width = dice.between(8, 20), length = width * dice.between(1, 3), height = dice.between(3, 25);
  surface.box(0, 0, 0, length, width, height);
  if (dice.chance(0.5)) surface.box(length * dice.between(-0.3f, 0.3f), width * dice.between(0.5f, 0.8f), 0, length * 0.4f, width, height * dice.between(0.4f, 1));
  for (int64_t i = dice.number(0, 4); i > 0; --i)  // what stands on flat roofs
    surface.box(length * dice.between(-0.4f, 0.4f), width * dice.between(-0.4f, 0.4f), height, dice.between(1, 4), dice.between(1, 4), dice.between(0.5f, 2.5f));
}

void car(Surface& surface, Dice& dice) {
  const float length = dice.between(3.6f, 5.0f), width = length * dice.between(0.36f, 0.5f), body = length * dice.between(0.13f, 0.2f);
  const float clear = length * dice.between(0.03f, 0.08f), cabin = length * dice.between(0.35f, 0.75f), rise = length * dice.between(0.1f, 0.18f);
  surface.box(0, 0, clear, length, width, body);
  const float x = length * dice.between(-0.15f, 0.05f), top = clear + body;
  const float back = cabin * dice.between(0.5f, 1.0f), narrow = width * dice.between(0.75f, 1.0f);
  const auto ring = [&](float half, float w, float z) {
    return std::array<Point, 4>{Point{x - half, -w / 2, z}, {x + half, -w / 2, z}, {x + half, w / 2, z}, {x - half, w / 2, z}};
  };
  const auto low = ring(cabin / 2, width * 0.95f, top), high = ring(back / 2, narrow, top + rise);
  for (size_t i = 0; i < 4; ++i) surface.quad(low[i], low[(i + 1) % 4], high[(i + 1) % 4], high[i]);
  surface.quad(high[0], high[1], high[2], high[3]);
  wheels(surface, length, width, length * dice.between(0.06f, 0.09f), 2);
}

void truck(Surface& surface, Dice& dice) {
  const float length = dice.between(5, 14), width = dice.between(2, 2.6f), wheel_radius = dice.between(0.4f, 0.6f), cab = dice.between(1.4f, 2.4f);
  const float load = length - cab - dice.between(0.1f, 0.6f), cab_height = dice.between(1.6f, 2.4f);
  surface.box(length / 2 - cab / 2, 0, wheel_radius, cab, width, cab_height);
  surface.box(0, 0, wheel_radius, length, width * 0.8f, 0.3f);
  surface.box(-length / 2 + load / 2, 0, wheel_radius + 0.3f, load, width, dice.chance(0.3) ? 0.6f : dice.between(1.8f, 3.0f));
  wheels(surface, length, width, wheel_radius, dice.number(2, 4));
}

void bus(Surface& surface, Dice& dice) {
  const float length = dice.between(7, 14), width = dice.between(2.3f, 2.7f), height = dice.between(2.4f, 3.2f);
  surface.box(0, 0, 0.4f, length, width, height);
  wheels(surface, length, width, 0.5f, dice.number(2, 3));
  if (dice.chance(0.4)) surface.box(0, 0, 0.4f + height, length * 0.3f, width * 0.6f, 0.25f);
}

void fence(Surface& surface, Dice& dice) {
  const int64_t panels = dice.number(1, 10);
  const float span = dice.between(1, 4), height = dice.between(0.8f, 2.4f), post = dice.between(0.06f, 0.2f);
  const int64_t rails = dice.number(1, 4), style = dice.number(0, 2), pickets = dice.number(4, 10);
  const float bend = dice.chance(0.5) ? 0 : dice.between(-0.5f, 0.5f), corner = dice.chance(0.3) ? 1.5708f : 0;
  float x = 0, y = 0, heading = 0;
  for (int64_t i = 0; i < panels; ++i) {
    const size_t first = surface.size();
    surface.box(x, y, 0, post, post, height * 1.05f);
    const float middle = x + span / 2;
    if (style == 0) surface.box(middle, y, height * 0.08f, span, post * 0.4f, height * 0.9f);
    else for (int64_t r = 0; r < rails; ++r) surface.box(middle, y, height * (0.25f + 0.7f * static_cast<float>(r) / static_cast<float>(rails)), span, post * 0.5f, post);
    if (style == 1)
      for (int64_t p = 0; p < pickets; ++p)
        surface.box(x + span * (static_cast<float>(p) + 0.5f) / static_cast<float>(pickets), y, 0.05f, span * 0.35f / static_cast<float>(pickets), post * 0.3f, height * 0.95f);
    surface.turn(first, x, y, heading);
    x += span * std::cos(heading), y += span * std::sin(heading);
    heading += bend + (i == panels / 2 ? corner : 0);
  }
  surface.box(x, y, 0, post, post, height * 1.05f);
}

void pole(Surface& surface, Dice& dice) {
  const float height = dice.between(4, 15), radius = height * dice.between(0.008f, 0.03f);
  surface.frustum({0, 0, 0}, {0, 0, height}, radius * dice.between(1, 1.5f), radius, 8);
  for (int64_t i = dice.number(0, 3); i > 0; --i) {  // cross arms, and wires that a scan keeps a piece of
    const float z = height * dice.between(0.75f, 0.99f), arm = height * dice.between(0.08f, 0.25f);
    surface.box(0, 0, z, arm, radius, radius * 1.5f);
    if (dice.chance(0.35)) surface.frustum({arm / 2, -arm, z}, {arm / 2, arm, z}, 0.02f, 0.02f, 4);
  }
  if (dice.chance(0.3)) surface.frustum({radius * 2, 0, height * 0.8f}, {radius * 2, 0, height * 0.88f}, height * 0.03f, height * 0.03f, 8);
}

void lamp_post(Surface& surface, Dice& dice) {
  const float height = dice.between(3, 11), radius = height * dice.between(0.008f, 0.02f), reach = height * dice.between(0.1f, 0.3f);
  surface.frustum({0, 0, 0}, {0, 0, height}, radius * 1.5f, radius, 8);
  if (dice.chance(0.35)) return surface.ellipsoid({0, 0, height}, height * 0.05f, height * 0.05f, height * 0.06f);
  for (int64_t side = dice.number(0, 2) == 0 ? -1 : 1; side <= 1; side += 2) {
    const float x = reach * static_cast<float>(side);
    surface.frustum({0, 0, height * 0.97f}, {x, 0, height}, radius, radius * 0.7f, 6);
    surface.box(x, 0, height * 0.985f, height * 0.1f, height * 0.035f, height * 0.02f);
  }
}

void sign(Surface& surface, Dice& dice) {
  const float height = dice.between(2, 4), side = height * dice.between(0.2f, 0.45f);
  surface.frustum({0, 0, 0}, {0, 0, height}, 0.04f, 0.04f, 8);
  if (dice.chance(0.5)) surface.frustum({0, -0.06f, height - side / 2}, {0, -0.03f, height - side / 2}, side / 2, side / 2, dice.number(3, 12));
  else surface.box(0, -0.05f, height - side, side * dice.between(0.8f, 2), 0.03f, side);
}

}  // namespace graft::pipelines::shapes
