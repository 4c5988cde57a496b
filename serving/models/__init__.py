"""The tables of serving."""

from serving.models.deployments import Deployment, DeploymentEvent, Release, Replica, Stage
from serving.models.feedback import Judgment
from serving.models.packages import Package, Variant
from serving.models.requests import RequestLog
from serving.models.rollouts import Rollout, RolloutPlan

__all__ = [
    "Deployment",
    "DeploymentEvent",
    "Judgment",
    "Package",
    "Release",
    "Replica",
    "RequestLog",
    "Rollout",
    "RolloutPlan",
    "Stage",
    "Variant",
]
