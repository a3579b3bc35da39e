"""Messages outlive the workers that send them."""

from __future__ import annotations

from litgo_pipelines_tests.casework.delivery_campaign import Terms, run


def test_workers_that_are_killed_lose_no_message_and_tell_nobody_twice(database_url: str) -> None:
    """900 messages, a worker killed with SIGKILL every second or two, and one request in seven going wrong.

    Each message is sent once, or is known not to be, or is `unknown`; ten thousand are sent by `delivery_campaign` itself.
    """
    found = run(database_url, Terms(messages=900, kill_every=1.5, failures=0.14))
    assert found.flawless, found
    assert found.kills >= 2
    # One or two have no luck three times in a row and go by mail.
    assert 530 <= found.ended["sent by push"] <= found.pushes <= 540
    assert found.mails >= found.ended["sent by email"] >= 220
    assert sum(found.ended.values()) == 900
