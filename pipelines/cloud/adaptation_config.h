#pragma once

#include <cstdint>
#include <string>

#include "peft_core/base/config.h"
#include "pipelines/cloud/projection.h"

namespace graft::pipelines {

/// ours: the published method with its faults mended, which starts as CLIP with a hand-written prompt. paper: as written. released: as its
/// code does it, faults included.
enum class CloudMode { kOurs, kPaper, kReleased };
enum class Part { kNone, kVision, kText, kBoth };
enum class ViewChoice { kEntropy, kAll };
enum class CloudHead { kNone, kPointclipAdapter };

inline EnumNames<CloudMode> config_names(CloudMode) {
  return {{"ours", CloudMode::kOurs}, {"paper", CloudMode::kPaper}, {"released", CloudMode::kReleased}};
}
inline EnumNames<Part> config_names(Part) {
  return {{"none", Part::kNone}, {"vision", Part::kVision}, {"text", Part::kText}, {"both", Part::kBoth}};
}
inline EnumNames<ViewChoice> config_names(ViewChoice) { return {{"entropy", ViewChoice::kEntropy}, {"all", ViewChoice::kAll}}; }
inline EnumNames<CloudHead> config_names(CloudHead) {
  return {{"none", CloudHead::kNone}, {"pointclip_adapter", CloudHead::kPointclipAdapter}};
}

inline bool in_vision(Part part) { return part == Part::kVision || part == Part::kBoth; }
inline bool in_text(Part part) { return part == Part::kText || part == Part::kBoth; }

/// The section `cloud`: what is put around the frozen CLIP. It is saved with what was learnt.
struct CloudConfig {
  CloudMode mode = CloudMode::kOurs;
  Part towers = Part::kVision;
  Part prompts = Part::kBoth;
  Projection projection = Projection::kPointclipV2;
  ViewChoice views = ViewChoice::kEntropy;
  CloudHead head = CloudHead::kNone;
  double head_ratio = 0.6;
  int64_t context_tokens = 4;
  int64_t points = 256;
  std::string text = "point cloud depth map of a {}.";
  std::string description = "depth map of a {} 3D model.";
  std::string attributes;

  template <class V>
  void visit(V& v) {
    v("mode", mode, "ours, paper or released: CLIPoint3D with its faults mended, as written, or as its code does it");
    v("towers", towers, "none, vision, text or both: where the method's adapters stand, unless method.targets says so");
    v("prompts", prompts, "none, vision, text or both: learnt tokens in the text, and in place of each picture's first patches");
    v("projection", projection, "pointclip_v2 (ten views), pointclip (its six) or pointclip_ten (of its few-shot method): how clouds become pictures");
    v("views", views, "entropy: the surer half of a cloud's views decides; all: every view");
    v("head", head, "none, or pointclip_adapter: PointCLIP's few-shot adapter between the views");
    v("head_ratio", head_ratio, "share of the adapter's feature in a view's feature");
    v("context_tokens", context_tokens, "learnt tokens of a picture; of a text too but in mode ours, which learns those of `text`");
    v("points", points, "points of a cloud that PointNet sees (for picture prompts)");
    v("text", text, "what a class is called; {} is its name");
    v("description", description, "frozen texts that text prompts look at; {} is the class, in a file of attributes its description");
    v("attributes", attributes, "JSON file class -> list of attributes, for more descriptions");
  }
};

/// The section `loss`: weights of the losses, 0: off.
struct LossConfig {
  double ce = 1, confidence = 1, transport = 1, prototype = 1, orthogonality = 1, entropy = 0, diversity = 0, anchor = 0;
  double blur = 0.05;
  double temperature = 0;
  int64_t prototype_every = 0;

  template <class V>
  void visit(V& v) {
    v("ce", ce, "cross-entropy on labelled clouds");
    v("confidence", confidence, "entropy of each cloud's mean distribution, source and target");
    v("transport", transport, "Sinkhorn divergence between the domains");
    v("prototype", prototype, "pull of target features to the source's prototypes");
    v("orthogonality", orthogonality, "of PointNet's feature transform");
    v("entropy", entropy, "entropy of each target cloud's prediction");
    v("anchor", anchor, "cross-entropy of target predictions with those from before training");
    v("diversity", diversity, "how unevenly the target batch's predictions are spread over the classes");
    v("blur", blur, "entropic weight of the Sinkhorn divergence");
    v("temperature", temperature, "of cosines with prototypes; 0: 0.07 in mode ours, else 1 as published");
    v("prototype_every", prototype_every, "steps between two computations of the prototypes; 0: one pass over the source");
  }
};

/// Throw InvalidArgument for the first value outside its range.
void validate(const CloudConfig& config);
void validate(const LossConfig& config);

}  // namespace graft::pipelines
