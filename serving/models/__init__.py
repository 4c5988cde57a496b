"""The tables of serving."""

from serving.models.certificates import Certificate, CertificatePair
from serving.models.deployments import Capture, Deployment, DeploymentEvent, Release, Replica, Stage
from serving.models.experiments import Experiment
from serving.models.feedback import Judgment
from serving.models.packages import Package, Variant
from serving.models.replays import Replay
from serving.models.requests import RequestLog
from serving.models.review import Draw, RetrainingProposal, ReviewItem, SampleDay, SamplePlan
from serving.models.rollouts import Rollout, RolloutPlan

__all__ = [
    "Capture",
    "Certificate",
    "CertificatePair",
    "Deployment",
    "DeploymentEvent",
    "Draw",
    "Experiment",
    "Judgment",
    "Package",
    "Release",
    "Replay",
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
