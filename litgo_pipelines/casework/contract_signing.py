"""Who is asked to sign, and where: takes up due contracts, drafts and sends envelopes, looks what became of them, and falls back to hand.

A contract is signable in one place at most. An envelope's id is written down before it is sent; a contract goes to manual signature only
where no envelope of it can have been sent, and one that may have been sent waits until DocuSign says whether it was. States are written
by `contract_queue`; no transaction is open while DocuSign is asked.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

from litgo_pipelines.casework import contract_queue as queue
from litgo_pipelines.casework import contract_wording as wording
from litgo_pipelines.casework.contract_documents import Document, Parties, anchors, document_of, made_of, parties_of
from litgo_pipelines.casework.contract_queue import Claim, Left
from litgo_pipelines.casework.contracts import PARTIES, lock_case
from litgo_pipelines.integrations.calls import VendorRefused, VendorUnavailable
from litgo_pipelines.integrations.docusign import GONE, SIGNABLE, DocuSign, Draft, Envelope, Signer
from litgo_pipelines.integrations.policies import Deadline
from litgo_pipelines.observability.logs import bound
from litgo_pipelines.settings import LitgoError, Settings, SettingsError

if TYPE_CHECKING:
    from sqlalchemy import Engine

Clock = Callable[[], datetime]
Outcome = Literal["sent", "out", "active", "declined", "anew", "manual", "again", "unclear", "voided", "left"]
"""What became of a contract: sent to its signers, still out, signed by both, declined, to be sent anew since its envelope is no more, to
be signed by hand, in vain, in vain while it may be out, canceled with no envelope out any more, or taken over by somebody else."""

IN_FLIGHT: Final = 6
"""Contracts that are worked on at the same time: while DocuSign hangs the first ones wait for it together, and the others for nothing."""

_SPARE: Final = timedelta(minutes=3)
_NOT_CONFIGURED: Final = "DocuSign is not configured"
# A key that cannot be used shows when it is first used, and is no better than a vendor out of reach.
_TROUBLES: Final = (VendorUnavailable, VendorRefused, SettingsError)
_WHOEVER_ASKS: Final = (None, 401, 403)
"""Statuses of refusals that are about our account or address, and not about what is asked."""


@dataclass(frozen=True)
class Processed:
    """What one pass did.

    Attributes:
        outcomes: how many contracts came to what.
        troubles: why tries were in vain, with how many.
        by_hand: the contracts that go on by hand.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    by_hand: list[UUID] = field(default_factory=list)
    _noting: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def note(self, trouble: str) -> None:
        """Count a try in vain; several threads may."""
        with self._noting:
            self.troubles[trouble] += 1

    @property
    def taken(self) -> int:
        return self.outcomes.total()


def process(
    engine: Engine,
    docusign: DocuSign | None,
    settings: Settings,
    clock: Clock,
    limit: int | None = None,
    *,
    unusable: str | None = None,
) -> Processed:
    """Take up contracts that are due, `LITGO_CONTRACT_BATCH` at a time, until none is; several workers may do so at once.

    Args:
        docusign: None: not configured, all is signed by hand.
        limit: contracts at most; None: all.
        unusable: why there is no `docusign`, though it is configured: contracts fare as if it were out of reach.
    """
    done = Processed()
    while limit is None or done.taken < limit:
        most = settings.litgo_contract_batch if limit is None else min(settings.litgo_contract_batch, limit - done.taken)
        with engine.begin() as connection:
            claims = queue.claim(connection, at=clock(), most=most)
        if not claims:
            break
        try:
            _Batch(engine, docusign, settings, clock, done, unusable).work(claims)
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


_Ask = Callable[[list[str], Deadline], Mapping[str, Envelope]]
_Look = Callable[[], "list[tuple[Claim, _Known]]"]


@dataclass(frozen=True)
class _Known:
    """What is known of a contract when its turn comes.

    Attributes:
        seconds: for which DocuSign may still be waited for.
        envelope: as DocuSign tells of it; None: it has none, or was not asked.
        trouble: why it does not say.
    """

    seconds: float
    envelope: Envelope | None = None
    trouble: str | None = None


@dataclass(frozen=True)
class _Batch:
    """Contracts that one worker claimed together.

    Attributes:
        silent: why DocuSign said nothing for a whole deadline; once there is one, no contract waits for it any more.
    """

    engine: Engine
    docusign: DocuSign | None
    settings: Settings
    clock: Clock
    done: Processed
    unusable: str | None = None
    silent: list[str] = field(default_factory=list)

    def work(self, claims: Sequence[Claim]) -> None:
        """Go on at once with contracts of which DocuSign can have nothing, and with the others when it has told what it has.

        What is asked for one contract takes one deadline at most: signing in and looking up are part of it.
        """
        with ThreadPoolExecutor(IN_FLIGHT, "litgo-contracts") as threads:
            running: list[Future[Outcome | None]] = []

            def go_on(known: Iterable[tuple[Claim, _Known]]) -> None:
                running.extend(threads.submit(copy_context().run, partial(self._settled, *one)) for one in known)

            try:
                looks, others = self._begun(claims)
                looking = [threads.submit(copy_context().run, look) for look in looks]
                go_on(others)
                for looked in as_completed(looking):
                    go_on(looked.result())
                self.done.outcomes.update(found for found in (one.result() for one in running) if found is not None)
            finally:
                for one in running:
                    one.cancel()

    def _begun(self, claims: Sequence[Claim]) -> tuple[list[_Look], list[tuple[Claim, _Known]]]:
        """What to look up, and the contracts that need not wait for it."""
        if self.docusign is None:
            if self.unusable is not None:
                self._tell_of_settings(self.unusable)
            return [], [(one, _Known(0.0, trouble=self.unusable or _NOT_CONFIGURED)) for one in claims]
        deadline = self.docusign.deadline()
        try:
            self.docusign.sign_in(deadline)
        except _TROUBLES as error:
            if isinstance(error, SettingsError):
                self._tell_of_settings(str(error))
            return [], [(one, _Known(0.0, trouble=str(error))) for one in claims]
        begun = {one.contract.envelope_id: one for one in claims if one.contract.envelope_id is not None}
        maybe = {one.transaction_id: one for one in claims if one.may_have_draft}
        asked = ((self.docusign.read, begun), (self.docusign.find, maybe))
        looks: list[_Look] = [partial(self._looked_up, ask, named, deadline) for ask, named in asked if named]
        fresh = [one for one in claims if one.contract.envelope_id is None and not one.may_have_draft]
        return looks, [(one, _Known(deadline.left())) for one in fresh]

    def _tell_of_settings(self, why: str) -> None:
        with self.engine.begin() as connection:
            queue.tell_of_settings(connection, why, self.clock())

    def _looked_up(self, ask: _Ask, named: Mapping[str, Claim], deadline: Deadline) -> list[tuple[Claim, _Known]]:
        """What DocuSign knows of contracts' envelopes, by the names it has for them."""
        told = _told(ask, list(named), deadline)
        left = deadline.left()
        troubles = {name: str(found) for name, found in told.items() if isinstance(found, LitgoError)}
        if troubles and left <= 0:
            self.silent.append(next(iter(troubles.values())))
        envelopes = {name: found for name, found in told.items() if isinstance(found, Envelope)}
        return [(one, _Known(left, envelopes.get(name), troubles.get(name))) for name, one in named.items()]

    def _settled(self, claimed: Claim, known: _Known) -> Outcome | None:
        """What became of a contract; None: another pass takes it up, for within a claim there must be time for all that one needs."""
        if self.clock() >= claimed.until - _SPARE:
            return None
        with bound(contract_id=str(claimed.contract.id), case_id=str(claimed.contract.case_id)):
            try:
                return self._tried(claimed, known, Deadline.after(known.seconds))
            except Left:
                return "left"

    def _tried(self, claimed: Claim, known: _Known, deadline: Deadline) -> Outcome:
        """Go on with a contract. An error of ours is logged and told as its trouble, so that it does not hold up the others."""
        try:
            if known.trouble is not None:
                raise _InVain(known.trouble, unsent=claimed.unsent)
            if claimed.contract.status == "canceled":
                return self._voided(claimed, known.envelope, deadline)
            return self._asked(claimed, known.envelope, deadline)
        except _InVain as vain:
            if deadline.left() <= 0:
                self.silent.append(str(vain))
            return self._in_vain(claimed, str(vain), unsent=vain.unsent)
        except Left:
            raise
        except Exception as error:
            import structlog

            structlog.get_logger(__name__).exception("contract not processed")
            return self._later(claimed, f"an error of ours, {type(error).__name__}: see the log")

    def _listened(self, claimed: Claim) -> None:
        """Go on only while DocuSign is worth waiting for.

        Raises:
            _InVain: it said nothing for a whole deadline.
        """
        if self.silent:
            raise _InVain(self.silent[0], unsent=claimed.unsent)

    def _asked(self, claimed: Claim, envelope: Envelope | None, deadline: Deadline) -> Outcome:
        """Carry out what an envelope's state asks for; where there is none, make one."""
        if envelope is None and claimed.contract.envelope_id is not None:
            return self._not_known(claimed, deadline)
        if envelope is None or envelope.status == "created":
            return self._brought_out(claimed, envelope, deadline)
        at = self.clock()
        with self.engine.begin() as connection:
            if envelope.status == "declined":
                # Before the contract, as everywhere.
                lock_case(connection, claimed.contract)
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

    def _not_known(self, claimed: Claim, deadline: Deadline) -> Outcome:
        """Ask again, where the envelope may be out; in the place of one that was certainly never sent make another."""
        if claimed.unsent:
            with self.engine.begin() as connection:
                claimed = queue.without_draft(connection, claimed)
            return self._brought_out(claimed, None, deadline)
        with self.engine.begin() as connection:
            trouble = queue.not_known(connection, claimed, self.clock())
        self.done.note(trouble.partition(":")[0])
        return "unclear" if claimed.contract.status == "requested" else "again"

    def _brought_out(self, claimed: Claim, envelope: Envelope | None, deadline: Deadline) -> Outcome:
        """Draft where there is no draft of what is to be signed, write it down, send it."""
        self._listened(claimed)
        draft = None
        if claimed.unsent:
            with self.engine.begin() as connection:
                parties = parties_of(connection, [claimed.contract.id])[claimed.contract.id]
            if parties.missing:
                return self._by_hand(claimed, f"DocuSign cannot be used: {_not_known(parties)}")
            claimed, draft = self._begun_draft(claimed, envelope, parties)
        if draft is not None:
            envelope_id = self._drafted(draft, deadline)
        else:
            assert envelope is not None
            envelope_id = envelope.id
        with self.engine.begin() as connection:
            if claimed.contract.envelope_id is None:
                queue.keep_draft(connection, claimed, envelope_id)
            else:
                queue.note_sending(connection, claimed)
        self._send(claimed, envelope_id, deadline)
        with self.engine.begin() as connection:
            queue.out(connection, claimed, self.clock())
        return "sent"

    def _begun_draft(self, claimed: Claim, envelope: Envelope | None, parties: Parties) -> tuple[Claim, Draft | None]:
        """Write down the draft that is to be made; None: the one that is there says what is known by now."""
        told = made_of(claimed.contract, parties, self.settings)
        with self.engine.begin() as connection:
            if claimed.contract.draft_of not in (None, told):
                claimed, envelope = queue.without_draft(connection, claimed), None
            document = document_of(connection, claimed.contract, parties, self.settings, self.clock())
            if envelope is not None:
                return claimed, None
            queue.note_drafting(connection, claimed, told)
        return claimed, _draft(claimed, parties, document)

    def _drafted(self, draft: Draft, deadline: Deadline) -> str:
        """A new draft's id; where the answer was lost, that of the draft which DocuSign made all the same."""
        assert self.docusign is not None
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
        configured = self.docusign is not None or self.unusable is not None
        fallback = (self.settings.fallback_enabled and waited) or not configured
        if contract.status == "requested" and unsent and fallback:
            return self._by_hand(claimed, trouble)
        return self._later(claimed, trouble, unclear=contract.status == "requested" and not unsent)

    def _later(self, claimed: Claim, trouble: str, *, unclear: bool = False) -> Outcome:
        self.done.note(trouble)
        with self.engine.begin() as connection:
            queue.again(connection, claimed, trouble, self.clock(), unclear=unclear)
        return "unclear" if unclear else "again"

    def _by_hand(self, claimed: Claim, trouble: str) -> Outcome:
        """Hand it over with a document of what is known; what is not known is told, for somebody has to fill it in."""
        with self.engine.begin() as connection:
            at = self.clock()
            claimed = queue.without_draft(connection, claimed)
            parties = parties_of(connection, [claimed.contract.id])[claimed.contract.id]
            document_of(connection, claimed.contract, parties, self.settings, at)
            unknown = _not_known(parties)
            told = trouble if unknown is None or unknown in trouble else f"{trouble}; {unknown}"
            queue.by_hand(connection, claimed, told, at)
        self.done.by_hand.append(claimed.contract.id)
        self.done.note(told)
        return "manual"

    def _voided(self, claimed: Claim, envelope: Envelope | None, deadline: Deadline) -> Outcome:
        """See to it that nobody can sign the envelope of a canceled contract."""
        assert self.docusign is not None
        if envelope is not None and envelope.status in SIGNABLE:
            self._listened(claimed)
            try:
                self.docusign.void(envelope.id, f"Contrato {claimed.contract.reference} cancelado", deadline)
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


def _told(ask: _Ask, names: list[str], deadline: Deadline) -> dict[str, Envelope | LitgoError]:
    """Envelopes by name, or why DocuSign does not say; what it refuses to tell of many is asked by halves, down to the one it minds."""
    try:
        return dict(ask(names, deadline))
    except VendorRefused as error:
        if len(names) > 1 and error.status not in _WHOEVER_ASKS:
            half = len(names) // 2
            return _told(ask, names[:half], deadline) | _told(ask, names[half:], deadline)
        return dict.fromkeys(names, error)
    except (VendorUnavailable, SettingsError) as error:
        return dict.fromkeys(names, error)


def _not_known(parties: Parties) -> str | None:
    """What of the parties is missing; None: nothing."""
    return f"{', '.join(parties.missing)} is not known (table contacts)" if parties.missing else None


def _draft(claimed: Claim, parties: Parties, document: Document) -> Draft:
    contract = claimed.contract
    subject, message = wording.to_signers(contract.reference)
    signers = []
    for party in PARTIES:
        person, marks = parties.person(party), anchors(contract, party)
        assert person.name is not None and person.email is not None  # noqa: PT018 (no test)
        wanted = marks if party == "client" else {kind: word for kind, word in marks.items() if kind != "id"}
        signers.append(Signer(party, person.name, person.email, wanted))
    return Draft(claimed.transaction_id, contract.reference, subject, message, document.pdf, signers)
