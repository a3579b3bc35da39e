"""A process that lets things be counted, or counts them, until it is killed or has done its share."""

from __future__ import annotations

import random
import sys
import time

from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.marketplace.event_log import advance, append

METRIC = "offers_ended_total"


def write(url: str, seed: int, transactions: int) -> None:
    """Transactions of different lengths, a third of which come to nothing."""
    chance = random.Random(seed)
    engine = open_engine(url)
    for _ in range(transactions):
        with engine.connect() as connection, connection.begin() as transaction:
            for _ in range(chance.randint(1, 3)):
                append(connection, METRIC, amount=chance.randint(1, 4), status=chance.choice(["declined", "expired"]))
                time.sleep(chance.random() * 0.003)
            if chance.random() < 1 / 3:
                transaction.rollback()
        sys.stdout.write(".")
        sys.stdout.flush()


def count(url: str) -> None:
    """For as long as it may."""
    engine = open_engine(url)
    while True:
        advance(engine, {}, most=7)
        sys.stdout.write(".")
        sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        count(sys.argv[2])
