"""The tables of serving."""

from serving.models.deployments import Deployment, DeploymentEvent, Release, Replica, Stage
from serving.models.packages import Package
from serving.models.requests import RequestLog

__all__ = ["Deployment", "DeploymentEvent", "Package", "Release", "Replica", "RequestLog", "Stage"]
