"""The faults that are injected one at a time: what breaks, which alerts must fire and by when, which may as consequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from litgo_pipelines_tests.deploy.campaign.conditions import CITY, DAY, HOUR, MINUTE, TOWN, Conditions, Size

Change = tuple[str, float]

QUIET: Final = 70 * MINUTE
"""Without a fault before it, so that windows of an hour are full."""
SLACK: Final = 4 * MINUTE
"""Beyond the window of an alert until it must have resolved: scrapes, evaluations, figures that wait for a reading."""

WINDOWS: Final[Mapping[str, float]] = {
    "FallbackHigh": HOUR,
    "VendorTimeouts": HOUR,
    # After it messages wait for a quarter of an hour at most, and the hour in which they arrive counts them.
    "NotificationsSlow": HOUR + 20 * MINUTE,
    "NotificationsFailing": HOUR,
    # Until a person has settled the last of them.
    "NotificationsUnknown": 2 * HOUR,
    "OffersExpiring": 2 * DAY,
    "AcceptanceLow": DAY,
    "ModelRolledBack": 10 * MINUTE,
    "MatchingErrors": 10 * MINUTE,
    "TriageErrors": 10 * MINUTE,
    "MatchingSlow": 10 * MINUTE,
    "TriageSlow": 10 * MINUTE,
    "BreakerOpen": 8 * MINUTE,
    # A person starts the job again some minutes after the cause is gone.
    "JobFailed": 10 * MINUTE,
    "ScheduleMissed": 10 * MINUTE,
    # What has waited is worked off.
    "OutboxOld": 20 * MINUTE,
    "ContractsNotSent": 10 * MINUTE,
    "TickMissing": 5 * MINUTE,
    "FairnessReportOld": 10 * MINUTE,
    "CollectorSourceDown": 3 * MINUTE,
    "ScheduleErrorBudgetBurn": DAY,
}
"""For how long after a fault an alert may still speak of it."""
_BURN_WINDOWS: Final = {"1h": 5 * MINUTE, "6h": 30 * MINUTE, "1d": 2 * HOUR, "3d": 6 * HOUR}


def window_of(name: str, labels: Mapping[str, str]) -> float:
    """For how long after a fault an alert may still speak of it, in seconds."""
    if name in ("ServingErrorBudgetBurn", "JobsErrorBudgetBurn"):
        return _BURN_WINDOWS[labels["window"]] + SLACK
    return WINDOWS.get(name, 0.0) + SLACK


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        breaks: conditions and what becomes of them while it lasts.
        must: seconds within which alerts fire, by `name` or `name/severity`.
        may: alerts that follow from it too.
        only: what the alerts that must fire are about; one of another label's value is no detection.
        lasts: seconds.
        then: what becomes of conditions when it ends, until the end.
        after: seconds for which all is well afterwards.
        hour: of the day at which the first scrape is; `begins` so many seconds after it.
        step: seconds between scrapes.
    """

    name: str
    breaks: tuple[Change, ...]
    must: Mapping[str, float]
    may: tuple[str, ...] = ()
    only: Mapping[str, str] = field(default_factory=dict)
    lasts: float = 40 * MINUTE
    then: tuple[Change, ...] = ()
    after: float = 45 * MINUTE
    hour: float = 10.0
    begins: float = QUIET
    step: float = 60.0
    size: Size = CITY

    @property
    def ends(self) -> float:
        """Seconds from the first scrape to the end of the fault."""
        return self.begins + self.lasts

    def conditions(self) -> Conditions:
        """With the fault in them."""
        found = Conditions(self.hour, self.ends + self.after)
        for name, value in self.breaks:
            found.set(name, value, self.begins, self.ends)
        for name, value in self.then:
            found.set(name, value, self.ends, found.ends + DAY)
        return found


_STORED: Final = ("NotificationsSlow", "OutboxOld")
_ONE: Final = 1.0
_BEFORE_TWO: Final = 55 * MINUTE


def _vendor(service: str, *, hangs: bool = False, share: float = 1.0) -> tuple[Change, ...]:
    return (f"vendor_failing:{service}", share), (f"vendor_hangs:{service}", float(hangs))


def _minutes(**alerts: float) -> dict[str, float]:
    return {name.replace("__", "/"): minutes * MINUTE for name, minutes in alerts.items()}


FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "nightly job fails",
        (("job_failing:calculate_equity_metrics", 1),),
        _minutes(JobFailed=10),
        ("ScheduleMissed",),
        lasts=HOUR,
        hour=_ONE,
        begins=_BEFORE_TWO,
    ),
    Fault(
        "job of messages fails each time",
        (("job_failing:deliver_notifications", 1),),
        _minutes(JobFailed=5, JobsErrorBudgetBurn=10, OutboxOld=25),
        _STORED,
        after=6.5 * HOUR,
    ),
    Fault(
        "schedule does not tick",
        (("schedule:nightly_expiry", 0),),
        _minutes(ScheduleMissed=85, TickMissing=25),
        hour=3.0,
        begins=55 * MINUTE,
        lasts=2 * HOUR,
    ),
    Fault(
        "scheduler loses a night",
        (("schedule:nightly_expiry", 0), ("schedule:nightly_equity", 0)),
        _minutes(ScheduleMissed=60, TickMissing=25, ScheduleErrorBudgetBurn=240),
        lasts=5 * HOUR,
        after=25 * HOUR,
        step=120.0,
        hour=_ONE,
        begins=_BEFORE_TWO,
    ),
    Fault(
        "fairness report is not made",
        (("schedule:nightly_equity", 0),),
        _minutes(FairnessReportOld=13 * 60 + 15, ScheduleMissed=60, TickMissing=25),
        ("ScheduleErrorBudgetBurn",),
        lasts=13.5 * HOUR,
        step=120.0,
        hour=_ONE,
        begins=_BEFORE_TWO,
    ),
    Fault("requests take five times as long", (("latency", 5),), _minutes(MatchingSlow=15), ("TriageSlow",)),
    Fault("requests take twelve times as long", (("latency", 12),), _minutes(MatchingSlow=15, TriageSlow=15)),
    Fault(
        "a fifth of the triages fails",
        (("triage_errors", 0.2),),
        _minutes(TriageErrors=15, ServingErrorBudgetBurn__page=60),
        ("ServingErrorBudgetBurn",),
        lasts=70 * MINUTE,
    ),
    # At the limit of MatchingErrors, so chance has a say in when.
    Fault(
        "5 % of the matches fail",
        (("matching_errors", 0.05),),
        _minutes(MatchingErrors=110),
        ("ServingErrorBudgetBurn",),
        lasts=2 * HOUR,
    ),
    Fault(
        "an eighth of the matches fails",
        (("matching_errors", 0.125),),
        _minutes(MatchingErrors=25, ServingErrorBudgetBurn__page=60),
        ("ServingErrorBudgetBurn",),
        lasts=70 * MINUTE,
    ),
    Fault(
        "2 % of triages and matches fail",
        (("triage_errors", 0.02), ("matching_errors", 0.02)),
        _minutes(ServingErrorBudgetBurn=60),
        ("TriageErrors", "MatchingErrors"),
        lasts=2 * HOUR,
        after=6.5 * HOUR,
    ),
    Fault(
        "lawyers do not hear of offers",
        (("answered", 0.2),),
        _minutes(OffersExpiring=27 * 60),
        ("AcceptanceLow",),
        lasts=27 * HOUR,
        after=50 * HOUR,
        step=180.0,
    ),
    Fault(
        "lawyers decline nearly all",
        (("interested", 0.06),),
        _minutes(AcceptanceLow=20 * 60),
        lasts=20 * HOUR,
        after=25 * HOUR,
        begins=DAY,
        step=180.0,
    ),
    Fault(
        "OpenAI refuses connections",
        _vendor("openai"),
        _minutes(BreakerOpen=12, FallbackHigh=35),
        only={"service": "openai"},
        after=75 * MINUTE,
    ),
    Fault(
        "OpenAI does not answer",
        _vendor("openai", hangs=True),
        _minutes(BreakerOpen=12, VendorTimeouts=25),
        ("FallbackHigh", "TriageSlow", "MatchingSlow"),
        only={"service": "openai"},
        after=75 * MINUTE,
    ),
    Fault(
        "DocuSign refuses connections",
        _vendor("docusign"),
        _minutes(BreakerOpen=15, FallbackHigh=40),
        only={"service": "docusign"},
        after=75 * MINUTE,
    ),
    Fault(
        "DocuSign's breaker open for an hour",
        _vendor("docusign", hangs=True),
        _minutes(BreakerOpen=20),
        ("VendorTimeouts", "FallbackHigh"),
        only={"service": "docusign"},
        lasts=HOUR,
        after=75 * MINUTE,
    ),
    Fault(
        "OneSignal refuses connections",
        _vendor("onesignal"),
        _minutes(BreakerOpen=12, FallbackHigh=35),
        only={"service": "onesignal"},
        after=75 * MINUTE,
    ),
    Fault(
        "SendGrid refuses connections",
        _vendor("sendgrid"),
        _minutes(BreakerOpen=12, NotificationsSlow=70),
        ("OutboxOld",),
        only={"service": "sendgrid"},
        after=90 * MINUTE,
    ),
    Fault(
        "SendGrid refuses mails",
        (("refused", 0.5),),
        _minutes(NotificationsFailing=40),
        after=75 * MINUTE,
    ),
    Fault(
        "5 % of OpenAI's answers late",
        (("vendor_timeouts:openai", 0.05),),
        _minutes(VendorTimeouts=40),
        only={"service": "openai"},
        after=75 * MINUTE,
    ),
    Fault(
        "5 % of OneSignal's answers late",
        (("vendor_timeouts:onesignal", 0.05),),
        _minutes(VendorTimeouts=40),
        only={"service": "onesignal"},
        after=75 * MINUTE,
    ),
    Fault(
        "5 % of SendGrid's answers late",
        (("vendor_timeouts:sendgrid", 0.05),),
        _minutes(VendorTimeouts=40),
        ("NotificationsUnknown",),
        only={"service": "sendgrid"},
        after=75 * MINUTE,
    ),
    Fault(
        "mails with an unknown end",
        (("vendor_timeouts:sendgrid", 0.5),),
        _minutes(NotificationsUnknown=35),
        ("VendorTimeouts", "BreakerOpen", "NotificationsSlow"),
        after=130 * MINUTE,
        size=TOWN,
    ),
    Fault("Gini of .40", (("gini", 0.155),), _minutes(WorkSpreadUnevenly=10)),
    Fault("60 % of the lawyers offered", (("offered", -0.33),), _minutes(LawyersWithoutOffers=10)),
    *(
        Fault(f"gap between {between}", ((f"gap:{between}", 0.2),), _minutes(GroupsUsedUnequally=10), only={"between": between})
        for between in ("areas", "capacity", "newcomers")
    ),
    Fault("champion degraded", (("degraded", 1),), _minutes(ModelDegraded__ticket=6, ModelDegraded__page=70), lasts=80 * MINUTE),
    Fault(
        "champion rolled back",
        (("champion", 6), ("rolled_back", 1)),
        _minutes(ModelRolledBack=5),
        then=(("champion", 6),),
        lasts=30 * MINUTE,
    ),
    Fault(
        "serving does not follow the alias",
        (("champion", 9), ("follows", 0)),
        _minutes(ChampionNotServed__ticket=8, ChampionNotServed__page=38),
        then=(("champion", 9),),
    ),
    Fault(
        "champion withdrawn, none left",
        (("champion", 0), ("rolled_back", 1)),
        _minutes(ChampionMissing=10),
        ("ModelRolledBack",),
        then=(("champion", 9),),
    ),
    Fault(
        "champion moved by hand without a word",
        (("champion", 6), ("unexplained", 1)),
        _minutes(PromotionUnexplained=70),
        lasts=80 * MINUTE,
        then=(("champion", 6),),
    ),
    Fault("groups of the experiment not as designed", (("mismatch", 1),), _minutes(SampleRatioMismatch=10)),
    Fault(
        "sensor of messages hangs",
        (("sensor_hangs:notifications_due", 1),),
        _minutes(OutboxOld=25, TickMissing=20),
        _STORED,
        after=75 * MINUTE,
    ),
    Fault("sensor fails", (("sensor_failing:offers_due", 1),), _minutes(TickFailing=15)),
    Fault(
        "contracts are not sent",
        (("sensor_hangs:contracts_due", 1),),
        _minutes(ContractsNotSent=140, TickMissing=20),
        lasts=2.6 * HOUR,
    ),
    Fault(
        "daemon silent",
        (("daemon", 0),),
        _minutes(DaemonSilent__page=8),
        (*_STORED, "TickMissing", "ContractsNotSent", "NotificationsFailing"),
        after=75 * MINUTE,
    ),
    Fault(
        "runs are not taken from the queue",
        (("queue_moves", 0),),
        _minutes(JobQueueStuck=45),
        (*_STORED, "ContractsNotSent"),
        lasts=50 * MINUTE,
        after=75 * MINUTE,
    ),
    Fault("collector down", (("collector", 0),), _minutes(CollectorSilent__page=6), lasts=15 * MINUTE),
    Fault("collector cannot read vendors", (("source:vendors", 0),), _minutes(CollectorSourceDown=6), only={"source": "vendors"}),
    Fault("collector cannot read Dagster", (("source:dagster", 0),), _minutes(CollectorSourceDown=6), only={"source": "dagster"}),
    Fault("serving down", (("serving", 0),), _minutes(ServingSilent__page=6), lasts=15 * MINUTE),
    Fault("disk filling", (("disk_used", 0.31),), _minutes(DiskFilling__ticket=15)),
    Fault("disk nearly full", (("disk_used", 0.385),), _minutes(DiskFilling__page=10)),
    Fault(
        "database down",
        (("database", 0),),
        _minutes(DatabaseDown__page=4),
        (*_STORED, "ServingErrorBudgetBurn", "CollectorSourceDown", "DaemonSilent", "TickMissing", "RegistrySilent"),
        lasts=20 * MINUTE,
        after=75 * MINUTE,
    ),
    Fault("events are not counted", (("counting", 0),), _minutes(EventsNotCounted=15)),
    Fault("events of an unknown kind", (("uncountable", 3),), _minutes(EventsUncountable=15)),
    Fault("registry does not answer", (("registry", 0),), _minutes(RegistrySilent=25)),
    Fault("triages wait for a person", (("undecided", 30),), _minutes(TriagesUndecided=125), lasts=2.2 * HOUR),
    Fault("contract forgotten for 15 days", (("forgotten", 15 * DAY),), _minutes(ContractUnsigned=65), lasts=75 * MINUTE),
)
