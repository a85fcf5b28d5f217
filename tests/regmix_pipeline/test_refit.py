"""Settings of the re-fit."""

import pytest
from pydantic import ValidationError

from regmix_pipeline.status import in_words
from regmix_pipeline.study.settings.refit import Refit


@pytest.mark.parametrize(
    "cron", ["0 3 * * *", "*/15 0-6 1,15 * 1-5", "0 0 1 1 7", "@daily", "0 3 * * MON", "0 0 L * *"]
)
def test_a_cron_is_what_dagster_takes(cron):
    assert Refit(cron=cron).cron == cron


@pytest.mark.parametrize("cron", ["0 3 * *", "60 3 * * *", "0 24 * * *", "0 3 0 * *", "a b c d e", "*/0 * * * *"])
def test_a_wrong_cron_is_refused_with_its_field(cron):
    with pytest.raises(ValidationError, match=r"minute|hour|day"):
        Refit(cron=cron)


def test_a_time_zone_has_a_name():
    with pytest.raises(ValidationError, match="is not a time zone"):
        Refit(cron="0 3 * * *", timezone="Mars/Olympus")


def test_many_reasons_are_reported_briefly():
    stale = {f"m{number}": "new" for number in range(5)} | {"books": "changed: documents/books"}
    assert in_words(stale) == "m0, m1, m2 and 2 more (new); books (changed: documents/books)"
