"""The tables of serving."""

from serving.models.alerts import AlertEvent, AlertRecipients, AlertRule
from serving.models.batches import BatchRun
from serving.models.capture_keys import CaptureKey
from serving.models.comparisons import ComparisonPair, TrafficComparison
from serving.models.deployments import Capture, Deployment, DeploymentEvent, Release, Replica, ReplicaCrash, Stage
from serving.models.drift import DriftCheck
from serving.models.feedback import Judgment
from serving.models.packages import Package, Variant
from serving.models.policies import AnswerPolicy, PackageCalibration
from serving.models.requests import RequestLog
from serving.models.review import Draw, RetrainingProposal, ReviewItem, SampleDay, SamplePlan
from serving.models.rollouts import Rollout, RolloutPlan
from serving.models.traffic import HostSample, Traffic, TrafficMark
from serving.models.usage import Budget, TokenUsage

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
