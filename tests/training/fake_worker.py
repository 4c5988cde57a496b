"""A worker that runs the fake trainer: ``manage.py rqworker gpu --worker-class <this>``."""

from typing import Any

from slmstudio.workers.worker import StudioWorker


class FakeTrainerWorker(StudioWorker):
    """The real worker in everything else."""

    def main_work_horse(self, job: Any, queue: Any) -> None:
        """Only the job's own process knows the fake."""
        from training.runs import jobs as run_jobs

        run_jobs.TRAINER = "tests.training.fake_trainer"
        super().main_work_horse(job, queue)
