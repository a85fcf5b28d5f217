"""Word of failed runs, by a webhook or by e-mail, where the environment says where to."""

from __future__ import annotations

import json
import os
import smtplib
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from email.message import EmailMessage
from typing import Any

import dagster as dg

from regmix_pipeline.addresses import text_without_credentials
from regmix_pipeline.assets.names import StudyNames

WEBHOOK, MAIL_TO, MAIL_FROM, MAIL_HOST = (
    "REGMIX_ALERT_WEBHOOK",
    "REGMIX_ALERT_EMAIL",
    "REGMIX_ALERT_FROM",
    "REGMIX_SMTP",
)
"""Variables: an address that takes JSON by POST; e-mail addresses with commas between; the sender; host:port."""
STUDY = "regmix/study"
"""Tag of a study's jobs."""
PATIENCE = 20.0
"""Seconds that a server may take."""


def failure_sensor(names: StudyNames, *, on: bool = True) -> dg.SensorDefinition:
    """The sensor `run_failures`: running where the environment names a place, and ``on``."""
    wanted = on and bool(os.environ.get(WEBHOOK) or os.environ.get(MAIL_TO))

    @dg.run_failure_sensor(
        name=names.of_location("run_failures"),
        default_status=dg.DefaultSensorStatus.RUNNING if wanted else dg.DefaultSensorStatus.STOPPED,
        description=f"Says that a run failed, to ${WEBHOOK} and ${MAIL_TO}.",
    )
    def run_failures(context: dg.RunFailureSensorContext) -> None:
        if is_of(context.dagster_run, names):
            send(said_of(context, names.study), os.environ)

    return run_failures


def is_of(run: dg.DagsterRun, names: StudyNames) -> bool:
    """Whether a run is of the study: its job says so, or it makes one of its assets. A location may hold others'."""
    if STUDY in run.tags:
        return run.tags[STUDY] == names.study
    keys = [*(run.asset_selection or ()), *(check.asset_key for check in run.asset_check_selection or ())]
    return not keys or any(key.path[0] == names.study for key in keys)


def said_of(context: dg.RunFailureSensorContext, study: str) -> dict[str, Any]:
    """What is said of a failed run, JSON-able; ``text`` says it in one line, as chat programs show it."""
    run = context.dagster_run
    steps = [event.step_key for event in context.get_step_failure_events() if event.step_key]
    failures = [event.step_failure_data for event in context.get_step_failure_events()]
    words = [
        data.user_failure_data.description
        for data in failures
        if data.user_failure_data is not None and data.user_failure_data.description
    ] or [str(context.failure_event.message)]
    error = text_without_credentials(words[0])
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    return {
        "text": f"regmix study {study}: run {run.run_id[:8]} failed: {error}",
        "study": study,
        "run": run.run_id,
        "job": run.job_name,
        "assets": assets,
        "steps": steps,
        "error": error,
    }


def send(said: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Send word to every place that the environment names, also when one of them fails.

    Raises:
        OSError, smtplib.SMTPException: a place cannot be reached or refuses; the sensor's tick then shows it.
    """
    with ExitStack() as places:  # the last one first; an error of one leaves the others alone
        if to := environment.get(MAIL_TO):
            places.callback(_mail, said, to, environment)
        if address := environment.get(WEBHOOK):
            places.callback(_post, said, address)


def _post(said: Mapping[str, Any], address: str) -> None:
    request = urllib.request.Request(
        address, json.dumps(said).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=PATIENCE):
        pass


def _mail(said: Mapping[str, Any], to: str, environment: Mapping[str, str]) -> None:
    message = EmailMessage()
    message["Subject"] = str(said["text"]).splitlines()[0][:150]
    message["From"], message["To"] = environment.get(MAIL_FROM, "regmix@localhost"), to
    message.set_content(json.dumps(said, indent=2))
    host, _, port = environment.get(MAIL_HOST, "localhost:25").partition(":")
    with smtplib.SMTP(host, int(port or 25), timeout=PATIENCE) as server:
        server.send_message(message)
