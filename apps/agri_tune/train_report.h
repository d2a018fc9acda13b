#pragma once

#include "apps/agri_tune/data_sets.h"
#include "apps/agri_tune/settings.h"
#include "pipelines/language/text_samples.h"
#include "pipelines/run_dir.h"
#include "pipelines/train.h"

namespace graft::apps::agri {

/// Makes report.html of a training run, with the same held-out questions answered before and after.
class TrainReportMaker {
 public:
  enum class When { kBefore, kAfter };

  TrainReportMaker(const pipelines::RunDir& run, const pipelines::Invocation& call, const Settings& settings,
                   const pipelines::LanguageModel& language, const pipelines::TextEncoding& encoding, const DataSets& sets)
      : run_(run), call_(call), settings_(settings), language_(language), encoding_(encoding), sets_(sets) {}

  /// Answers some held-out questions and keeps them in the run folder, so that a resumed run has them too.
  void answer_samples(When when) const;
  void write(const pipelines::TrainReport& trained) const;

 private:
  std::vector<data::Record> questions() const;
  std::vector<pipelines::SampleAnswer> samples() const;
  std::vector<pipelines::Fact> facts(const pipelines::TrainReport& trained) const;
  std::vector<pipelines::Score> scores() const;
  std::string summary(const pipelines::TrainReport& trained) const;

  const pipelines::RunDir& run_;
  const pipelines::Invocation& call_;
  const Settings& settings_;
  const pipelines::LanguageModel& language_;
  const pipelines::TextEncoding& encoding_;
  const DataSets& sets_;
};

}  // namespace graft::apps::agri
