#include "pipelines/cloud/shapes/makers.h"

namespace graft::pipelines::shapes {
namespace {

/// Four legs under a plate of the given size.
void legs(Surface& surface, float length, float width, float height, float thick) {
  for (const float x : {-1.0f, 1.0f})
    for (const float y : {-1.0f, 1.0f}) surface.box(x * (length - thick) / 2, y * (width - thick) / 2, 0, thick, thick, height);
}

/// A chest with the seams of its drawers.
void chest(Surface& surface, Dice& dice, float length, float depth, float height, int64_t rows, int64_t columns) {
  const float foot = dice.chance(0.5) ? height * dice.between(0.05f, 0.25f) : 0;
  if (foot > 0) legs(surface, length, depth, foot, length * 0.07f);
  surface.box(0, 0, foot, length, depth, height - foot);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) {
      const float w = length / static_cast<float>(columns), h = (height - foot) / static_cast<float>(rows);
      const float x = -length / 2 + w * (static_cast<float>(c) + 0.5f), z = foot + h * static_cast<float>(r);
      surface.box(x, -depth / 2 - 0.01f, z + 0.1f * h, w * 0.88f, 0.03f, h * 0.8f);
      surface.box(x, -depth / 2 - 0.05f, z + 0.45f * h, w * 0.2f, 0.05f, h * 0.08f);
    }
}

}  // namespace

void chair(Surface& surface, Dice& dice) {
  const float width = dice.between(0.4f, 0.6f), depth = width * dice.between(0.9f, 1.15f), seat = dice.between(0.38f, 0.5f), plate = dice.between(0.02f, 0.1f);
  const float back = dice.between(0.3f, 0.65f);
  if (dice.chance(0.75)) legs(surface, width, depth, seat, width * dice.between(0.06f, 0.12f));
  else surface.frustum({0, 0, 0}, {0, 0, seat}, 0.04f, 0.04f, 8), surface.frustum({0, 0, 0}, {0, 0, 0.05f}, width * 0.5f, width * 0.4f);
  surface.box(0, 0, seat, width, depth, plate);
  if (dice.chance(0.6)) surface.box(0, depth / 2, seat, width, plate, back);
  else {
    for (int64_t i = 0, n = dice.number(2, 5); i < n; ++i)
      surface.box(width * (-0.45f + 0.9f * static_cast<float>(i) / static_cast<float>(n - 1)), depth / 2, seat, width * 0.08f, 0.03f, back);
    surface.box(0, depth / 2, seat + back * 0.85f, width, 0.04f, back * 0.2f);
  }
  if (dice.chance(0.3))
    for (const float x : {-0.5f, 0.5f}) surface.box(x * width, 0, seat + 0.2f, 0.05f, depth, 0.04f), surface.box(x * width, -depth * 0.4f, seat, 0.04f, 0.04f, 0.2f);
}

void table(Surface& surface, Dice& dice) {
  const float width = dice.between(0.5f, 1.2f), length = width * dice.between(1, 2.4f), height = dice.between(0.4f, 0.9f), plate = dice.between(0.02f, 0.08f);
  if (dice.chance(0.3)) {
    surface.frustum({0, 0, height}, {0, 0, height + plate}, width / 2, width / 2);
    surface.frustum({0, 0, 0}, {0, 0, height}, 0.06f, 0.06f, 8);
    return surface.frustum({0, 0, 0}, {0, 0, 0.04f}, width * 0.3f, width * 0.25f);
  }
  legs(surface, length, width, height, width * dice.between(0.05f, 0.13f));
  surface.box(0, 0, height, length, width, plate);
  if (dice.chance(0.25)) surface.box(0, 0, height * 0.3f, length * 0.9f, width * 0.9f, plate);
}

void bed(Surface& surface, Dice& dice) {
  const float width = dice.between(0.9f, 2), length = dice.between(1.9f, 2.2f), base = dice.between(0.1f, 0.35f), mattress = dice.between(0.15f, 0.3f);
  if (base > 0.2f && dice.chance(0.5)) legs(surface, width, length, base, 0.08f);
  surface.box(0, 0, base * 0.6f, width, length, base * 0.4f);
  surface.box(0, 0, base, width * 0.96f, length * 0.97f, mattress);
  surface.box(0, length / 2, 0, width * dice.between(1, 1.1f), 0.08f, base + mattress + dice.between(0.1f, 0.8f));
  if (dice.chance(0.5)) surface.box(0, -length / 2, 0, width, 0.06f, base + mattress * dice.between(0.5f, 1.8f));
  const int64_t pillows = width > 1.3f ? 2 : 1;
  for (int64_t i = 0; i < pillows; ++i) {
    const float x = pillows == 1 ? 0 : width * (i == 0 ? -0.24f : 0.24f);
    surface.box(x, length * 0.4f, base + mattress, width * 0.8f / static_cast<float>(pillows), 0.35f, 0.12f);
  }
}

void sofa(Surface& surface, Dice& dice) {
  const float length = dice.between(1.2f, 2.6f), depth = dice.between(0.7f, 1), seat = dice.between(0.35f, 0.5f), arm = dice.between(0.1f, 0.25f);
  const float foot = dice.chance(0.5) ? 0.08f : 0;
  surface.box(0, 0, foot, length, depth, seat - foot);
  surface.box(0, depth * 0.42f, foot, length, depth * dice.between(0.16f, 0.3f), seat + dice.between(0.3f, 0.55f));
  const float rest = seat + dice.between(0.1f, 0.3f);
  for (const float x : {-1.0f, 1.0f}) surface.box(x * (length - arm) / 2, 0, foot, arm, depth, rest - foot);
  const int64_t cushions = dice.number(1, 3);
  for (int64_t i = 0; i < cushions; ++i) {
    const float w = (length - 2 * arm) / static_cast<float>(cushions);
    surface.box(-length / 2 + arm + w * (static_cast<float>(i) + 0.5f), -depth * 0.08f, seat, w * 0.95f, depth * 0.75f, 0.1f);
  }
  if (dice.chance(0.2)) surface.box(length * 0.35f, -depth * 0.8f, foot, length * 0.3f, depth * 0.9f, seat - foot);  // a corner
}

void bookshelf(Surface& surface, Dice& dice) {
  const float width = dice.between(0.6f, 1.6f), depth = dice.between(0.2f, 0.4f), height = dice.between(1, 2.4f), board = 0.03f;
  const int64_t shelves = dice.number(2, 6);
  const bool books = dice.chance(0.5);
  for (const float x : {-1.0f, 1.0f}) surface.box(x * width / 2, 0, 0, board, depth, height);
  if (dice.chance(0.7)) surface.box(0, depth / 2, 0, width, 0.01f, height);
  for (int64_t i = 0; i <= shelves; ++i) {
    const float step = height / static_cast<float>(shelves), z = step * static_cast<float>(i);
    surface.box(0, 0, z, width, depth, board);
    for (float x = -0.45f * width; books && i < shelves && x < 0.4f * width;) {
      const float thick = dice.between(0.02f, 0.07f);
      if (dice.chance(0.8)) surface.box(x, 0, z + board, thick, depth * 0.7f, step * dice.between(0.5f, 0.85f));
      x += thick * 1.1f;
    }
  }
}

void lamp(Surface& surface, Dice& dice) {
  const float height = dice.between(0.4f, 1.8f), shade = height * dice.between(0.12f, 0.3f), tall = height * dice.between(0.15f, 0.35f);
  if (dice.chance(0.2)) {  // hanging
    surface.frustum({0, 0, tall}, {0, 0, height}, 0.01f, 0.01f, 6);
    return surface.frustum({0, 0, 0}, {0, 0, tall}, shade, shade * dice.between(0.1f, 0.7f));
  }
  surface.frustum({0, 0, 0}, {0, 0, height * 0.04f}, shade * dice.between(0.6f, 1.1f), shade * 0.6f);
  const float thick = height * dice.between(0.01f, 0.04f), x = dice.chance(0.25) ? shade : 0;
  surface.frustum({0, 0, 0}, {x, 0, height - tall / 2}, thick, thick, 8);
  if (dice.chance(0.2)) surface.ellipsoid({x, 0, height - tall / 2}, shade * 0.7f, shade * 0.7f, shade * 0.7f);
  else surface.frustum({x, 0, height - tall}, {x, 0, height}, shade, shade * dice.between(0.4f, 0.9f));
}

void toilet(Surface& surface, Dice& dice) {
  const float seat = dice.between(0.36f, 0.45f), width = dice.between(0.34f, 0.42f), bowl = width * dice.between(1.1f, 1.4f);
  surface.frustum({0, 0, 0}, {0, 0, seat * 0.6f}, width * 0.3f, width * 0.33f);
  surface.frustum({0, -0.04f, seat * 0.5f}, {0, -0.06f, seat}, width * 0.3f, width * 0.52f);
  surface.torus({0, -0.08f, seat}, width * 0.4f, 0.05f);
  surface.box(0, bowl * 0.5f, seat * dice.between(0.3f, 1), width * 1.05f, 0.18f, seat * dice.between(0.7f, 1.1f));
  if (dice.chance(0.35)) surface.box(0, bowl * 0.35f, seat, width, 0.04f, width * 1.1f);  // the lid is up
}

void bathtub(Surface& surface, Dice& dice) {
  const float length = dice.between(1.4f, 1.9f), width = dice.between(0.65f, 0.9f), height = dice.between(0.4f, 0.65f), rim = dice.between(0.04f, 0.1f);
  const bool box = dice.chance(0.6);
  if (!box) {  // an oval shell, open above
    const float foot = dice.between(0, 0.15f);
    for (int64_t i = 0; i < 20; ++i) {
      const auto at = [&](int64_t k, float shrink, float z) {
        const float a = 6.2832f * static_cast<float>(k) / 20;
        return Point{shrink * length / 2 * std::cos(a), shrink * width / 2 * std::sin(a), foot + z};
      };
      surface.quad(at(i, 0.75f, 0), at(i + 1, 0.75f, 0), at(i + 1, 1, height), at(i, 1, height));
      surface.triangle({0, 0, foot + 0.05f}, at(i, 0.7f, 0.05f), at(i + 1, 0.7f, 0.05f));
    }
    if (foot > 0.06f) legs(surface, length * 0.6f, width * 0.6f, foot, 0.06f);
    return;
  }
  for (const float x : {-1.0f, 1.0f}) surface.box(x * (length - rim) / 2, 0, 0, rim, width, height);
  for (const float y : {-1.0f, 1.0f}) surface.box(0, y * (width - rim) / 2, 0, length, rim, height);
  surface.box(0, 0, 0.05f, length - 2 * rim, width - 2 * rim, 0.05f);
  if (dice.chance(0.5)) surface.frustum({length * 0.46f, 0, height}, {length * 0.46f, 0, height + 0.15f}, 0.02f, 0.02f, 6);
}

void dresser(Surface& surface, Dice& dice) {
  const float length = dice.between(0.8f, 1.8f), height = dice.between(0.7f, 1.3f);
  chest(surface, dice, length, dice.between(0.4f, 0.6f), height, dice.number(3, 5), dice.number(1, 3));
  if (dice.chance(0.15)) surface.box(0, 0.2f, height, length * 0.7f, 0.03f, 0.7f);  // a mirror
}

void night_stand(Surface& surface, Dice& dice) {
  chest(surface, dice, dice.between(0.35f, 0.6f), dice.between(0.3f, 0.5f), dice.between(0.4f, 0.7f), dice.number(1, 2), 1);
}

void monitor(Surface& surface, Dice& dice) {
  const float width = dice.between(0.4f, 1.2f), height = width * dice.between(0.5f, 0.75f), foot = dice.between(0.05f, 0.2f), thick = dice.between(0.02f, 0.1f);
  surface.box(0, 0, foot, width, thick, height);
  if (dice.chance(0.25)) surface.box(0, thick * 2, foot + height * 0.1f, width * 0.7f, thick * 3, height * 0.8f);  // a tube
  surface.box(0, thick, 0, width * 0.08f, 0.03f, foot + height * 0.3f);
  surface.box(0, 0, 0, width * dice.between(0.3f, 0.6f), width * 0.25f, 0.02f);
}

}  // namespace graft::pipelines::shapes
