"""Every retrieval figure, from labelled vectors: their only home. Pure: no files, no model, no clock.

`retrieval` ranks: recall@k, P@1, R-precision, MAP@R, mAP, CMC. `clustering` groups: NMI, AMI. `extras`: what may be
asked beyond the plain figures. `bootstrap` says how far a mean could have come out otherwise. What may change here:
more figures. What may not: those that are there.
"""

from index.evaluation.bootstrap import BootstrapPlan, Interval, bootstrap_difference, bootstrap_mean
from index.evaluation.clustering import (
    ClusteringFigures,
    adjusted_mutual_information,
    cluster_vectors,
    evaluate_clustering,
    normalised_mutual_information,
)
from index.evaluation.extras import Extras, Plan, evaluate_extras, summary_to_json
from index.evaluation.retrieval import KS, Figures, LabelledVectors, QueryFigures, Question, Summary, evaluate

__all__ = [
    "KS",
    "BootstrapPlan",
    "ClusteringFigures",
    "Extras",
    "Figures",
    "Interval",
    "LabelledVectors",
    "Plan",
    "QueryFigures",
    "Question",
    "Summary",
    "adjusted_mutual_information",
    "bootstrap_difference",
    "bootstrap_mean",
    "cluster_vectors",
    "evaluate",
    "evaluate_clustering",
    "evaluate_extras",
    "normalised_mutual_information",
    "summary_to_json",
]
