"""Every environment variable of the project, typed and described once.

Nothing else reads the environment. `docs/environment.md` and the README's table are generated from here (`litgo settings`).
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSettings

PROJECT_FOLDER = Path(__file__).resolve().parent.parent


class LitgoError(Exception):
    """Something a person can mend; the message is one line that says what to do. The command line shows it without a traceback."""


class SettingsError(LitgoError, ValueError):
    """An environment variable holds something that cannot be used; the message names it."""


class Settings(BaseSettings):
    """The settings of one process. Field names are the lower-case environment variables."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore", populate_by_name=True, env_ignore_empty=True, allow_inf_nan=False)

    litgo_home: Path = Field(
        PROJECT_FOLDER / ".litgo",
        description="Folder of everything the project writes: embedded PostgreSQL, Dagster's files, MLflow artifacts, datasets.",
    )
    database_url: SecretStr | None = Field(
        None, description="The marketplace's PostgreSQL (16 or later, with pgvector). Without it an embedded server is started."
    )
    dagster_postgres_url: SecretStr | None = Field(
        None,
        description="Dagster's storage, as `postgresql+psycopg2://…`. Defaults to the database `dagster` of the embedded server.",
    )
    mlflow_tracking_uri: SecretStr | None = Field(
        None,
        description="MLflow's tracking and registry server or database. Defaults to the database `mlflow` of the embedded server.",
    )
    mlflow_artifact_root: str | None = Field(
        None,
        description="Where a new MLflow experiment keeps its artifacts. Defaults to `LITGO_HOME/mlflow-artifacts` when embedded, "
        "else to what the tracking server decides.",
    )

    min_reviews_for_retrain: int = Field(200, ge=1, description="New reviews since the last training that start `retrain_ranker`.")
    min_improvement: float = Field(1.05, ge=1.0, description="A candidate's held-out NDCG@5 must exceed the champion's times this factor.")
    litgo_labels: dict[str, int] = Field(
        default={"lost": 0, "declined": 1, "accepted": 2, "won": 3},
        description="Relevance label of each outcome, as JSON (whole numbers, 0..30).",
    )
    litgo_held_out_share: float = Field(0.2, gt=0, le=0.5, description="Share of the newest cases held out of training for evaluation.")
    litgo_outcome_embargo_days: float = Field(
        7.0, ge=0, description="Days before the held-out cases that training leaves out, so that no outcome leaks."
    )
    litgo_min_held_out_cases: int = Field(50, ge=2, description="Below this many held-out cases the gate says `insufficient data`.")
    litgo_training_threads: int = Field(2, ge=1, description="Threads LightGBM may use.")
    litgo_pseudonym_key: SecretStr | None = Field(
        None, description="Key that pseudonymises ids in logged training sets. Defaults to one made and kept in `LITGO_HOME`."
    )

    litgo_equity_price: float = Field(
        0.5,
        ge=0,
        description="`a` of the offer rule to begin with: what a fully used month costs in acceptance probability. Once a price is "
        "recorded (`litgo fairness price`), that one is in force.",
    )
    litgo_equity_target_gini: float = Field(
        0.27, gt=0, lt=1, description="The weekly refit takes the smallest price whose replayed Gini of utilisation stays within this."
    )
    litgo_equity_max_move: float = Field(0.25, gt=0, lt=1, description="Largest share by which the refit moves the price within a week.")
    litgo_new_lawyer_bonus: float = Field(0.05, ge=0, description="`b` of the offer rule: bonus of a lawyer who has received few offers.")
    litgo_new_lawyer_offers: int = Field(10, ge=0, description="Offers after which a lawyer is no longer new.")
    litgo_exploration: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of requests whose order inside a value band is drawn at random, with logged propensity.",
    )
    litgo_offer_hours: float = Field(24.0, gt=0, description="Hours a lawyer has to answer an offer.")
    litgo_interest_days: float = Field(
        14.0,
        ge=1,
        le=365,
        description="Days after which a lawyer's interest lapses if no contract was requested; the lawyer is free again.",
    )
    litgo_recorded_candidates: int = Field(20, ge=1, description="Candidates recorded per request, those shown included.")

    litgo_fairness_max_gini: float = Field(0.30, gt=0, le=1, description="Gini of utilisation from which the daily check warns.")
    litgo_fairness_min_offered: float = Field(
        0.80, ge=0, lt=1, description="Share of eligible lawyers with an offer in 30 days up to which the daily check warns."
    )
    litgo_fairness_max_gap: float = Field(
        0.20, gt=0, le=1, description="Gap in mean utilisation between groups above which the daily check warns."
    )
    litgo_fairness_min_lawyers: int = Field(
        30, ge=2, description="Groups with fewer lawyers are not compared; a report with fewer is no verdict."
    )
    litgo_fairness_min_cases: int = Field(
        100, ge=1, description="With fewer contracts (or offers) in 30 days a fairness check says `insufficient data`."
    )
    litgo_newcomer_days: int = Field(
        90, ge=31, description="Days since joining during which the distribution report counts a lawyer as new."
    )

    ab_testing_enabled: bool = Field(
        True, description="Whether a candidate that passed the gate must win an experiment before it answers everybody."
    )
    default_traffic_percentage: float = Field(
        10.0,
        gt=0,
        le=50,
        description="Share of the clients, in percent, that an experiment ends its ramp with, where `LITGO_RAMP` does not say more.",
    )
    litgo_ramp: list[float] = Field(
        default=[],
        description="Steps of an experiment's ramp in percent, ascending, as JSON. Defaults to `[1, 5, DEFAULT_TRAFFIC_PERCENTAGE]`; "
        "`[1, 5, 10, 25, 50]` goes on.",
    )
    litgo_ramp_hours: float = Field(24.0, ge=0, description="Hours that each step of the ramp lasts at least.")
    litgo_experiment_mode: Literal["ab", "interleaving"] = Field(
        "ab",
        description="`interleaving`: a candidate that passed the gate is interleaved with the champion first, and goes on to the A/B "
        "test if it wins.",
    )
    litgo_experiment_max_days: float = Field(28.0, gt=0, le=365, description="Days after which an experiment ends without a verdict.")
    litgo_experiment_at_the_end: Literal["keep", "promote-if-not-inferior"] = Field(
        "keep", description="What becomes of an experiment without a verdict: `keep` the champion, or `promote-if-not-inferior`."
    )
    litgo_readout_minutes: float = Field(60.0, gt=0, description="How often a running experiment is read, if anything ripened.")
    litgo_promotion: Literal["auto", "approve"] = Field(
        "auto", description="`approve`: a promotion waits for a named person (`litgo experiment approve`); harm still stops by itself."
    )
    quality_threshold: float = Field(
        0.85,
        gt=0,
        lt=1,
        description="A champion is degraded where its match score or its acceptance falls below this share of its reference.",
    )
    degradation_window: float = Field(
        1.0, gt=0, le=168, description="Hours between two readings of the champion's quality, and what each shows."
    )
    litgo_reference_decisions: int = Field(500, ge=100, description="A version's first decisions that its later ones are compared with.")
    litgo_proven_hours: float = Field(24.0, ge=0, description="Hours of healthy watch after which a champion counts as proven.")
    litgo_cooldown_hours: float = Field(24.0, ge=0, description="Hours after a rollback during which nothing is promoted by itself.")

    openai_timeout: float = Field(30.0, gt=0, le=600, description="Seconds that one request to OpenAI may take.")
    docusign_timeout: float = Field(45.0, gt=0, le=600, description="Seconds that one request to DocuSign may take.")
    onesignal_timeout: float = Field(15.0, gt=0, le=600, description="Seconds that one request to OneSignal may take.")
    sendgrid_timeout: float = Field(15.0, gt=0, le=600, description="Seconds that one request to SendGrid may take.")
    openai_deadline: float = Field(
        25.0, gt=0, le=600, description="Seconds that a call to OpenAI may take in all, repetitions and pauses included."
    )
    docusign_deadline: float = Field(
        25.0, gt=0, le=600, description="Seconds that a call to DocuSign may take in all, repetitions and pauses included."
    )
    onesignal_deadline: float = Field(
        25.0, gt=0, le=600, description="Seconds that a call to OneSignal may take in all, repetitions and pauses included."
    )
    sendgrid_deadline: float = Field(
        25.0, gt=0, le=600, description="Seconds that a call to SendGrid may take in all, repetitions and pauses included."
    )
    fallback_enabled: bool = Field(
        True,
        description="Whether work goes on in a simpler way while a vendor is out of reach; `false`: it fails with a clear error.",
    )
    litgo_breaker_failures: int = Field(5, ge=1, le=1000, description="Failed requests in a row after which a vendor is left alone.")
    litgo_breaker_seconds: float = Field(
        60.0, gt=0, le=3600, description="Seconds that a vendor is left alone; then one request at a time may try."
    )

    openai_api_key: SecretStr | None = Field(None, description="Key of OpenAI. Without it texts are embedded by the local model alone.")
    openai_base_url: str = Field("https://api.openai.com/v1", description="Where OpenAI is.")
    openai_embedding_model: str = Field("text-embedding-3-small", description="OpenAI's model for embeddings.")
    local_embedding_model: str = Field(
        "all-MiniLM-L6-v2",
        description="Model that embeds texts on this machine: a name, a folder, or `none`. The default comes with the extra "
        "`local-model`, so that a machine without a model hub has it.",
    )
    litgo_embedding_batch: int = Field(64, ge=1, le=2048, description="Texts that are embedded at once in backfills.")
    litgo_triage_confidence: float = Field(
        0.5, ge=0, le=1, description="A triage that is less sure than this names no area: a person decides (`litgo triage decide`)."
    )

    docusign_base_url: str = Field("https://demo.docusign.net/restapi", description="Where DocuSign's eSignature API is.")
    docusign_auth_url: str = Field("https://account-d.docusign.com", description="Where DocuSign gives tokens.")
    docusign_account_id: str | None = Field(None, description="Account at DocuSign. Without it contracts are signed by hand.")
    docusign_integration_key: str | None = Field(None, description="Integration key (client id) of the JWT grant.")
    docusign_user_id: str | None = Field(None, description="User at DocuSign in whose name envelopes are sent.")
    docusign_private_key: SecretStr | None = Field(None, description="RSA key of the JWT grant: the PEM itself, or the path of its file.")
    contract_manual_after: float = Field(
        0.0, ge=0, le=43_200, description="Minutes after its request until which a contract waits for DocuSign before it is signed by hand."
    )
    litgo_contract_batch: int = Field(50, ge=1, le=1000, description="Contracts that one run takes up at most at a time.")

    onesignal_base_url: str = Field("https://api.onesignal.com", description="Where OneSignal is.")
    onesignal_app_id: str | None = Field(None, description="App at OneSignal. Without it nobody is pushed to: messages go by mail.")
    onesignal_api_key: SecretStr | None = Field(None, description="Key of that app.")
    sendgrid_base_url: str = Field("https://api.sendgrid.com", description="Where SendGrid is.")
    sendgrid_api_key: SecretStr | None = Field(None, description="Key of SendGrid. Without it no mail leaves; messages stay queued.")
    sendgrid_from: str = Field("litgo@example.com", description="Sender of mails; a verified sender at SendGrid.")
    litgo_ops_emails: Annotated[list[str], NoDecode] = Field(
        default=[], description="Who is told by mail of what the system wants a person to know, separated by commas."
    )
    litgo_notification_hours: float = Field(
        24.0, gt=0, le=720, description="Hours after which a message that could not be sent is given up."
    )

    litgo_next_offer_days: float = Field(
        7.0, ge=0, le=365, description="Days during which an open case without a live offer is offered to the next lawyers; 0: never."
    )
    litgo_next_offer_lawyers: int = Field(1, ge=1, le=50, description="Lawyers that such a case is offered to at a time.")
    litgo_next_offer_rounds: int = Field(10, ge=1, le=1000, description="How often that is done for a case at most.")

    litgo_controller_name: str = Field("LITGO", description="Controller of personal data (LGPD), as letters to lawyers name it.")
    litgo_dpo_contact: str = Field(
        "encarregado@example.com", description="Where a lawyer reaches the data protection officer (encarregado), as letters name it."
    )

    litgo_api_keys: Annotated[list[SecretStr], NoDecode] = Field(
        default=[], description="Bearer tokens that serving accepts, separated by commas. Without any it binds to loopback only."
    )
    litgo_serve_host: str = Field("127.0.0.1", description="Address `litgo serve` binds to.")
    litgo_serve_port: int = Field(8000, ge=1, le=65535, description="Port of `litgo serve`.")
    litgo_dagster_port: int = Field(3001, ge=1, le=65535, description="Port of Dagster's web server (3000 is Grafana's).")
    litgo_dagster_url: str | None = Field(
        None,
        description="Where people open Dagster, for links in messages. Defaults to `http://127.0.0.1:` and `LITGO_DAGSTER_PORT`.",
    )
    litgo_mlflow_port: int = Field(5000, ge=1, le=65535, description="Port of the MLflow server.")
    litgo_metrics_host: str = Field("127.0.0.1", description="Address `litgo metrics serve` binds to.")
    litgo_metrics_port: int = Field(9108, ge=1, le=65535, description="Port of `litgo metrics serve`.")
    litgo_refresh_seconds: float = Field(3.0, gt=0, le=60, description="How often serving reads lawyers and loads again.")
    litgo_model_poll_seconds: float = Field(5.0, gt=0, le=15, description="How often serving looks where the alias `champion` points.")

    litgo_log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe log line that is written.")
    litgo_log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`json`, `console`, or `auto`: readable on a terminal, JSON elsewhere."
    )

    @field_validator("litgo_home", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("litgo_api_keys", "litgo_ops_emails", mode="before")
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("openai_base_url", "docusign_base_url", "docusign_auth_url", "onesignal_base_url", "sendgrid_base_url", mode="after")
    @classmethod
    def _address(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must start with https:// (or http://)")
        return value.rstrip("/")

    @field_validator("litgo_dagster_url", mode="after")
    @classmethod
    def _linked(cls, value: str | None) -> str | None:
        return None if value is None else cls._address(value)

    @field_validator("sendgrid_from", mode="after")
    @classmethod
    def _mailbox(cls, value: str) -> str:
        _require_mailbox(value)
        return value

    @field_validator("litgo_ops_emails", mode="after")
    @classmethod
    def _mailboxes(cls, value: list[str]) -> list[str]:
        for one in value:
            _require_mailbox(one)
        return value

    @field_validator("litgo_ramp", mode="after")
    @classmethod
    def _ascending(cls, value: list[float]) -> list[float]:
        if any(not 0 < one <= 50 for one in value) or any(after <= before for before, after in itertools.pairwise(value)):
            raise ValueError("must be ascending percentages above 0 and up to 50")
        return value

    @field_validator("litgo_labels", mode="after")
    @classmethod
    def _all_outcomes(cls, value: dict[str, int]) -> dict[str, int]:
        if set(value) != {"lost", "declined", "accepted", "won"}:
            raise ValueError("must name exactly lost, declined, accepted and won")
        if not all(0 <= label <= 30 for label in value.values()):
            raise ValueError("labels must lie in 0..30")
        return value

    @property
    def ramp(self) -> tuple[float, ...]:
        """Shares of all clients in treatment, step by step, 0..1."""
        last = self.default_traffic_percentage
        percent = self.litgo_ramp or [one for one in (1.0, 5.0) if one < last] + [last]
        return tuple(one / 100 for one in percent)

    @property
    def dagster_url(self) -> str:
        """Where people open Dagster, without a slash at the end."""
        return self.litgo_dagster_url or f"http://127.0.0.1:{self.litgo_dagster_port}"

    @property
    def dagster_home(self) -> Path:
        """Folder that Dagster keeps its instance file and compute logs in."""
        return self.litgo_home / "dagster"

    @property
    def datasets_folder(self) -> Path:
        """Folder of the training sets, one parquet file a fingerprint."""
        return self.litgo_home / "datasets"


def _require_mailbox(given: str) -> None:
    """Catches what is certainly no e-mail address.

    Raises:
        ValueError: it has other than one @, nothing on one side of it, or a space.
    """
    name, at, house = given.partition("@")
    if not (name and at and house) or "@" in house or any(one.isspace() for one in given):
        raise ValueError(f"{given!r} is no e-mail address: write it as name@example.com")


def load_settings(**overrides: Any) -> Settings:
    """Read the environment afresh.

    Raises:
        SettingsError: a variable cannot be used; the message names each one and what is wrong with it.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        faults = "; ".join(f"{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors())
        raise SettingsError(f"cannot use the environment: {faults}") from None
    except UnreadableSettings as error:
        # Its cause says what is wrong with the JSON; the message says of which field.
        raise SettingsError(f"cannot use the environment: {error}: {error.__cause__}") from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()
