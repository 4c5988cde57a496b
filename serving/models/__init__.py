"""The tables of serving."""

from serving.models.deployments import Deployment, DeploymentEvent, Release, Replica, Stage
from serving.models.feedback import Judgment
from serving.models.packages import Package, Variant
from serving.models.requests import RequestLog
from serving.models.review import Draw, RetrainingProposal, ReviewItem, SampleDay, SamplePlan
from serving.models.rollouts import Rollout, RolloutPlan

__all__ = [
    "Deployment",
    "DeploymentEvent",
    "Draw",
    "Judgment",
    "Package",
    "Release",
    "Replica",
    "RequestLog",
    "RetrainingProposal",
    "ReviewItem",
    "Rollout",
    "RolloutPlan",
    "SampleDay",
    "SamplePlan",
    "Stage",
    "Variant",
]
