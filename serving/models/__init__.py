"""The tables of serving."""

from serving.models.callers import Budget, CaptureKey, TokenUsage
from serving.models.deployments import Capture, Deployment, DeploymentEvent, Release, Replica, ReplicaCrash, Stage
from serving.models.monitoring import (
    AlertEvent,
    AlertRecipients,
    AlertRule,
    DriftCheck,
    HostSample,
    Traffic,
    TrafficMark,
)
from serving.models.packages import Package, Variant
from serving.models.policies import AnswerPolicy, PackageCalibration
from serving.models.requests import BatchRun, RequestLog
from serving.models.review import Draw, Judgment, RetrainingProposal, ReviewItem, SampleDay, SamplePlan
from serving.models.rollouts import ComparisonPair, Rollout, RolloutPlan, TrafficComparison

__all__ = [
    "AlertEvent",
    "AlertRecipients",
    "AlertRule",
    "AnswerPolicy",
    "BatchRun",
    "Budget",
    "Capture",
    "CaptureKey",
    "ComparisonPair",
    "Deployment",
    "DeploymentEvent",
    "Draw",
    "DriftCheck",
    "HostSample",
    "Judgment",
    "Package",
    "PackageCalibration",
    "Release",
    "Replica",
    "ReplicaCrash",
    "RequestLog",
    "RetrainingProposal",
    "ReviewItem",
    "Rollout",
    "RolloutPlan",
    "SampleDay",
    "SamplePlan",
    "Stage",
    "TokenUsage",
    "Traffic",
    "TrafficComparison",
    "TrafficMark",
    "Variant",
]
