"""Who is asked to sign, and where: takes up due contracts, drafts and sends envelopes, looks what became of them, and falls back to hand.

A contract is signable in one place at most. An envelope's id is written down before it is sent; a contract goes to manual signature only
where no envelope of it can have been sent, and one that may have been sent waits until DocuSign says whether it was. States are written
by `contract_queue`; no transaction is open while DocuSign is asked.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

from litgo_pipelines.casework import contract_queue as queue
from litgo_pipelines.casework import contract_wording as wording
from litgo_pipelines.casework.contract_documents import Parties, anchors, document_of, parties_of
from litgo_pipelines.casework.contract_queue import Claim, Left
from litgo_pipelines.casework.contracts import PARTIES
from litgo_pipelines.integrations.calls import VendorRefused, VendorUnavailable
from litgo_pipelines.integrations.docusign import GONE, SIGNABLE, DocuSign, Draft, Envelope, Signer
from litgo_pipelines.settings import Settings, SettingsError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines.integrations.policies import Deadline

Clock = Callable[[], datetime]
Outcome = Literal["sent", "out", "active", "declined", "anew", "manual", "again", "unclear", "voided", "left"]
"""What became of a contract: sent to its signers, still out, signed by both, declined, to be sent anew since its envelope is no more, to
be signed by hand, in vain, in vain while it may be out, canceled with no envelope out any more, or taken over by somebody else."""

IN_FLIGHT: Final = 6
"""Contracts that are worked on at the same time: while DocuSign hangs the first ones wait for it together, and open the breaker for the
others, which then wait for nothing."""

_SPARE: Final = timedelta(minutes=3)
_NOT_CONFIGURED: Final = "DocuSign is not configured"
# A key that cannot be used shows when it is first used, and is no better than a vendor out of reach.
_TROUBLES: Final = (VendorUnavailable, VendorRefused, SettingsError)


@dataclass(frozen=True)
class Processed:
    """What one pass did.

    Attributes:
        outcomes: how many contracts came to what.
        troubles: why tries were in vain, with how many.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    _noting: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def note(self, trouble: str) -> None:
        """Count a try in vain; several threads may."""
        with self._noting:
            self.troubles[trouble] += 1

    @property
    def taken(self) -> int:
        return self.outcomes.total()


def process(engine: Engine, docusign: DocuSign | None, settings: Settings, clock: Clock, limit: int | None = None) -> Processed:
    """Take up contracts that are due, `LITGO_CONTRACT_BATCH` at a time, until none is; several workers may do so at once.

    Args:
        docusign: None: not configured, all is signed by hand.
        limit: contracts at most; None: all.
    """
    done = Processed()
    while limit is None or done.taken < limit:
        most = settings.litgo_contract_batch if limit is None else min(settings.litgo_contract_batch, limit - done.taken)
        with engine.begin() as connection:
            claims = queue.claim(connection, at=clock(), most=most)
        if not claims:
            break
        try:
            _Batch(engine, docusign, settings, clock, done).work(claims)
        finally:
            with engine.begin() as connection:
                queue.release(connection, claims)
    return done


class _InVain(Exception):
    """A try that brought nothing.

    Attributes:
        unsent: whether no envelope of the contract can have been sent.
    """

    def __init__(self, trouble: str, *, unsent: bool) -> None:
        super().__init__(trouble)
        self.unsent = unsent


@dataclass(frozen=True)
class _Batch:
    """Contracts that one worker claimed together."""

    engine: Engine
    docusign: DocuSign | None
    settings: Settings
    clock: Clock
    done: Processed

    def work(self, claims: Sequence[Claim]) -> None:
        """Look up all envelopes at once, then go on with each contract."""
        envelopes, troubles = self._look_up(claims)
        with self.engine.connect() as connection:
            parties = parties_of(connection, [one.contract.id for one in claims])

        def settled(claimed: Claim) -> Outcome | None:
            if self.clock() >= claimed.until - _SPARE:
                # Another pass takes up the rest: within a claim there must be time for all that one contract needs.
                return None
            which = claimed.contract.id
            return self._settled(claimed, envelopes.get(which), troubles.get(which), parties[which])

        with ThreadPoolExecutor(IN_FLIGHT, "litgo-contracts") as threads:
            self.done.outcomes.update(one for one in threads.map(settled, claims) if one is not None)

    def _look_up(self, claims: Sequence[Claim]) -> tuple[dict[UUID, Envelope], dict[UUID, str]]:
        """What DocuSign knows of the contracts' envelopes, and why it does not say; both by contract."""
        if self.docusign is None:
            return {}, {one.contract.id: _NOT_CONFIGURED for one in claims}
        try:
            self.docusign.sign_in()
        except _TROUBLES as error:
            return {}, {one.contract.id: str(error) for one in claims}
        begun = {one.contract.envelope_id: one.contract.id for one in claims if one.contract.envelope_id is not None}
        maybe = {one.transaction_id: one.contract.id for one in claims if one.may_have_draft}
        found: dict[UUID, Envelope] = {}
        troubles: dict[UUID, str] = {}
        for known, look in ((begun, self.docusign.read), (maybe, self.docusign.find)):
            try:
                told = look(list(known)) if known else {}
            except _TROUBLES as error:
                troubles |= dict.fromkeys(known.values(), str(error))
            else:
                found |= {which: told[name] for name, which in known.items() if name in told}
        return found, troubles

    def _settled(self, claimed: Claim, envelope: Envelope | None, trouble: str | None, parties: Parties) -> Outcome:
        try:
            return self._tried(claimed, envelope, trouble, parties)
        except Left:
            return "left"

    def _tried(self, claimed: Claim, envelope: Envelope | None, trouble: str | None, parties: Parties) -> Outcome:
        """Go on with a contract. An error of ours is logged and told as its trouble, so that it does not hold up the others."""
        try:
            if trouble is not None:
                raise _InVain(trouble, unsent=claimed.unsent)
            if claimed.contract.status == "canceled":
                return self._voided(claimed, envelope)
            return self._asked(claimed, envelope, parties)
        except _InVain as vain:
            return self._in_vain(claimed, str(vain), unsent=vain.unsent)
        except Left:
            raise
        except Exception as error:
            import structlog

            structlog.get_logger(__name__).exception("contract not processed", contract_id=str(claimed.contract.id))
            return self._later(claimed, f"an error of ours, {type(error).__name__}: see the log")

    def _asked(self, claimed: Claim, envelope: Envelope | None, parties: Parties) -> Outcome:
        """Carry out what an envelope's state asks for; where there is none, make one."""
        assert self.docusign is not None
        if envelope is None and claimed.contract.envelope_id is not None:
            raise _InVain("DocuSign does not know the contract's envelope", unsent=claimed.unsent)
        if envelope is None or envelope.status == "created":
            return self._brought_out(claimed, envelope, parties)
        at = self.clock()
        with self.engine.begin() as connection:
            if claimed.contract.envelope_id is None:
                queue.keep_draft(connection, claimed, envelope.id)
            if envelope.status == "completed":
                moments: dict[str, datetime] = {party: envelope.signed.get(party, envelope.completed_at or at) for party in PARTIES}
                queue.signed(connection, claimed, moments, at)
                return "active"
            if envelope.status == "declined":
                queue.declined(connection, claimed, f"declined at DocuSign: {envelope.declined or 'no reason given'}", at)
                return "declined"
            if envelope.status in GONE:
                queue.anew(connection, claimed, f"the envelope was {envelope.status} at DocuSign", at)
                return "anew"
            # Also a state that is not known yet: it is looked at again.
            queue.out(connection, claimed, at)
            return "out"

    def _brought_out(self, claimed: Claim, envelope: Envelope | None, parties: Parties) -> Outcome:
        """Draft where there is no draft, write it down, send it."""
        assert self.docusign is not None
        deadline = self.docusign.deadline()
        if parties.missing and claimed.unsent:
            return self._by_hand(claimed, f"DocuSign cannot be used: {', '.join(parties.missing)} is not known (table contacts)")
        envelope_id = self._drafted(claimed, parties, deadline) if envelope is None else envelope.id
        with self.engine.begin() as connection:
            if claimed.contract.envelope_id is None:
                queue.keep_draft(connection, claimed, envelope_id)
            else:
                queue.note_sending(connection, claimed)
        self._send(claimed, envelope_id, deadline)
        with self.engine.begin() as connection:
            queue.out(connection, claimed, self.clock())
        return "sent"

    def _drafted(self, claimed: Claim, parties: Parties, deadline: Deadline) -> str:
        """A new draft's id; where the answer was lost, that of the draft which DocuSign made all the same."""
        assert self.docusign is not None
        draft = self._draft(claimed, parties)
        try:
            return self.docusign.draft(draft, deadline)
        except (VendorRefused, SettingsError) as error:
            raise _InVain(str(error), unsent=True) from None
        except VendorUnavailable as error:
            if not error.maybe_taken:
                raise _InVain(str(error), unsent=True) from None
            lost = str(error)
        try:
            found = self.docusign.find([draft.transaction_id], deadline)
        except (VendorUnavailable, VendorRefused):
            raise _InVain(lost, unsent=True) from None
        if draft.transaction_id not in found:
            raise _InVain(lost, unsent=True)
        return found[draft.transaction_id].id

    def _draft(self, claimed: Claim, parties: Parties) -> Draft:
        contract = claimed.contract
        with self.engine.begin() as connection:
            document = document_of(connection, contract, parties, self.settings, self.clock())
        subject, message = wording.to_signers(contract.reference)
        signers = []
        for party in PARTIES:
            person, marks = parties.person(party), anchors(contract, party)
            assert person.name is not None and person.email is not None  # noqa: PT018 (no test)
            wanted = marks if party == "client" else {kind: word for kind, word in marks.items() if kind != "id"}
            signers.append(Signer(party, person.name, person.email, wanted))
        return Draft(claimed.transaction_id, contract.reference, subject, message, document.pdf, signers)

    def _send(self, claimed: Claim, envelope_id: str, deadline: Deadline) -> None:
        """Send a draft; returns only where it is certainly sent.

        Raises:
            _InVain: it was certainly not sent, or nobody can tell.
        """
        assert self.docusign is not None
        try:
            self.docusign.send(envelope_id, deadline)
            return
        except VendorUnavailable as error:
            trouble, taken = str(error), error.maybe_taken
        except VendorRefused as error:
            # Also the answer to a second sending, where the first one's was lost.
            trouble, taken = str(error), False
        never = not taken and claimed.unsent
        status = None if never else self._status(envelope_id, deadline)
        if status in SIGNABLE | {"completed"}:
            return
        unsent = never or (not taken and status == "created")
        if unsent and claimed.contract.status == "requested":
            with self.engine.begin() as connection:
                queue.note_unsent(connection, claimed)
        raise _InVain(trouble, unsent=unsent)

    def _status(self, envelope_id: str, deadline: Deadline) -> str | None:
        """An envelope's state; None: DocuSign does not say."""
        assert self.docusign is not None
        try:
            found = self.docusign.read([envelope_id], deadline).get(envelope_id)
        except (VendorUnavailable, VendorRefused):
            return None
        return None if found is None else found.status

    def _in_vain(self, claimed: Claim, trouble: str, *, unsent: bool) -> Outcome:
        """By hand, where that is allowed and harms nobody; otherwise later once more."""
        contract = claimed.contract
        waited = self.clock() - contract.created_at >= timedelta(minutes=self.settings.contract_manual_after)
        fallback = self.settings.fallback_enabled or self.docusign is None
        if contract.status == "requested" and unsent and fallback and (waited or self.docusign is None):
            return self._by_hand(claimed, trouble)
        return self._later(claimed, trouble, unclear=contract.status == "requested" and not unsent)

    def _later(self, claimed: Claim, trouble: str, *, unclear: bool = False) -> Outcome:
        self.done.note(trouble)
        with self.engine.begin() as connection:
            queue.again(connection, claimed, trouble, self.clock(), unclear=unclear)
        return "unclear" if unclear else "again"

    def _by_hand(self, claimed: Claim, trouble: str) -> Outcome:
        self.done.note(trouble)
        with self.engine.begin() as connection:
            at = self.clock()
            parties = parties_of(connection, [claimed.contract.id])[claimed.contract.id]
            document_of(connection, claimed.contract, parties, self.settings, at)
            queue.by_hand(connection, claimed, trouble, at)
        return "manual"

    def _voided(self, claimed: Claim, envelope: Envelope | None) -> Outcome:
        """See to it that nobody can sign the envelope of a canceled contract."""
        assert self.docusign is not None
        if envelope is not None and envelope.status in SIGNABLE:
            try:
                self.docusign.void(envelope.id, f"Contrato {claimed.contract.reference} cancelado")
            except (VendorUnavailable, VendorRefused) as error:
                raise _InVain(str(error), unsent=False) from None
        with self.engine.begin() as connection:
            if envelope is not None and envelope.status == "completed":
                trouble = "signed at DocuSign by both parties after it had been canceled"
                queue.tell_team(connection, claimed.contract, "signed-though-canceled", trouble, self.clock())
                queue.rest(connection, claimed, trouble)
            else:
                queue.rest(connection, claimed)
        return "voided"
