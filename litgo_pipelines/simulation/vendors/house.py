"""All vendors at once on this machine, each failing as told, and the settings with which the product asks them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from litgo_pipelines.simulation.vendors.faults import Fault, Troubled
from litgo_pipelines.simulation.vendors.server import Received, faulty_server

Vendor = Literal["openai", "docusign", "onesignal", "sendgrid"]
VENDORS: Final[tuple[Vendor, ...]] = ("openai", "docusign", "onesignal", "sendgrid")

Watch = Callable[[Vendor, Received, Fault], None]


@dataclass(frozen=True)
class House:
    """The vendors that run.

    Attributes:
        urls: where each is.
        environment: variables with which the product finds them and is let in.
        troubled: what each answers with; its `fault` may be set at any time.
    """

    urls: Mapping[Vendor, str]
    environment: Mapping[str, str]
    troubled: Mapping[Vendor, Troubled]


@contextmanager
def vendors(
    folder: Path, faults: Mapping[Vendor, Fault], watch: Watch = lambda _vendor, _received, _met: None, seed: int = 0
) -> Iterator[House]:
    """Run all four for as long as the block takes.

    Args:
        folder: where the key is kept with which the product signs for DocuSign.
        faults: how they fail from the beginning; who is not named answers as it should.
        watch: is told of every request and of the fault it met.
    """
    from litgo_pipelines.simulation.vendors.docusign import DocuSignStandIn
    from litgo_pipelines.simulation.vendors.onesignal import APP_ID, OneSignalStandIn
    from litgo_pipelines.simulation.vendors.onesignal import KEY as ONESIGNAL_KEY
    from litgo_pipelines.simulation.vendors.openai import KEY as OPENAI_KEY
    from litgo_pipelines.simulation.vendors.openai import OpenAIStandIn
    from litgo_pipelines.simulation.vendors.sendgrid import KEY as SENDGRID_KEY
    from litgo_pipelines.simulation.vendors.sendgrid import SendGridStandIn

    standins: dict[Vendor, OpenAIStandIn | DocuSignStandIn | OneSignalStandIn | SendGridStandIn] = {
        "openai": OpenAIStandIn(),
        "docusign": DocuSignStandIn(),
        "onesignal": OneSignalStandIn(),
        "sendgrid": SendGridStandIn(),
    }
    with ExitStack() as stack:
        troubled: dict[Vendor, Troubled] = {}
        urls: dict[Vendor, str] = {}
        for number, vendor in enumerate(VENDORS):
            answers = Troubled(standins[vendor].answer, seed + number, partial(watch, vendor))
            answers.fault = faults.get(vendor, Fault())
            server = stack.enter_context(faulty_server(answers, remembers=False))
            troubled[vendor], urls[vendor] = answers, server.url
        environment = {
            "OPENAI_BASE_URL": f"{urls['openai']}/v1",
            "OPENAI_API_KEY": OPENAI_KEY,
            "DOCUSIGN_BASE_URL": f"{urls['docusign']}/restapi",
            "DOCUSIGN_AUTH_URL": urls["docusign"],
            "DOCUSIGN_ACCOUNT_ID": "stand-in",
            "DOCUSIGN_INTEGRATION_KEY": "stand-in",
            "DOCUSIGN_USER_ID": "stand-in",
            "DOCUSIGN_PRIVATE_KEY": str(_private_key(folder)),
            "ONESIGNAL_BASE_URL": urls["onesignal"],
            "ONESIGNAL_APP_ID": APP_ID,
            "ONESIGNAL_API_KEY": ONESIGNAL_KEY,
            "SENDGRID_BASE_URL": urls["sendgrid"],
            "SENDGRID_API_KEY": SENDGRID_KEY,
            "LITGO_OPS_EMAILS": "ops@example.com",
        }
        yield House(urls, environment, troubled)


def _private_key(folder: Path) -> Path:
    """A file with an RSA key; made where it is missing."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    file = folder / "docusign-stand-in.pem"
    if not file.is_file():
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        folder.mkdir(parents=True, exist_ok=True)
        file.touch(0o600)
        file.write_bytes(key.private_bytes(*form))
    return file
