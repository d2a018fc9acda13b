#pragma once

// Internal to pipelines/cloud/shapes: one function a family; each puts an object of random proportions on z = 0, in metres.

#include "pipelines/cloud/shapes/surface.h"

namespace graft::pipelines::shapes {

using Maker = void (*)(Surface& surface, Dice& dice);

// street.cpp
void house(Surface&, Dice&);
void tower(Surface&, Dice&);
void block(Surface&, Dice&);
void car(Surface&, Dice&);
void truck(Surface&, Dice&);
void bus(Surface&, Dice&);
void fence(Surface&, Dice&);
void pole(Surface&, Dice&);
void lamp_post(Surface&, Dice&);
void sign(Surface&, Dice&);
// plants.cpp
void conifer(Surface&, Dice&);
void round_tree(Surface&, Dice&);
void palm(Surface&, Dice&);
void bush(Surface&, Dice&);
void pot_plant(Surface&, Dice&);
// furniture.cpp
void chair(Surface&, Dice&);
void table(Surface&, Dice&);
void bed(Surface&, Dice&);
void sofa(Surface&, Dice&);
void bookshelf(Surface&, Dice&);
void lamp(Surface&, Dice&);
void toilet(Surface&, Dice&);
void bathtub(Surface&, Dice&);
void dresser(Surface&, Dice&);
void night_stand(Surface&, Dice&);
void monitor(Surface&, Dice&);
// building_parts.cpp
void door(Surface&, Dice&);
void beam(Surface&, Dice&);
void column(Surface&, Dice&);
void floor_slab(Surface&, Dice&);
void roof(Surface&, Dice&);
void stairs(Surface&, Dice&);
void wall(Surface&, Dice&);
void window(Surface&, Dice&);
void balcony(Surface&, Dice&);
// solids.cpp
void cube(Surface&, Dice&);
void sphere(Surface&, Dice&);
void cylinder(Surface&, Dice&);
void cone(Surface&, Dice&);
void torus(Surface&, Dice&);
void plane(Surface&, Dice&);

}  // namespace graft::pipelines::shapes
