"""What can go wrong, done to a bench: each fault blocks until what it takes away is back, or is to be replaced."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from tests import s3
from tests.cluster.bench import DRIVER, WORKER, Bench
from tests.cluster.hosts import Host

AWAY_S = 5.0
TRACKING_AWAY_S = 60.0
CUT_OFF_S = (3.0, 12.0)
"""A node that comes back before it is given up, and one that is given up."""
SLOW_KILOBITS, SLOW_S = 256, 15.0
HEADLESS_S = 60.0

Fault = Callable[[Bench, random.Random], None]


def any_node(bench: Bench, chance: random.Random) -> Host:
    """Return one of the nodes, one with a worker where there is any."""
    nodes = [host for host, _ in bench.cluster.nodes]
    return chance.choice([host for host in nodes if host.processes(WORKER)] or nodes)


def kill_worker(bench: Bench, chance: random.Random) -> None:
    """End one worker."""
    any_node(bench, chance).kill(WORKER)


def kill_raylet(bench: Bench, chance: random.Random) -> None:
    """End Ray's own process on a node; its workers follow it."""
    any_node(bench, chance).kill("/raylet/raylet ")


def lose_node(bench: Bench, chance: random.Random) -> None:
    """Take a node away for good."""
    any_node(bench, chance).lose()


def cut_off_node(bench: Bench, chance: random.Random) -> None:
    """Cut a node off for seconds, and bring it back."""
    host = any_node(bench, chance)
    host.cut_off()
    bench.tend_for(chance.choice(CUT_OFF_S))
    if host.is_there:
        host.bring_back()


def slow_link(bench: Bench, chance: random.Random) -> None:
    """Make a node's link slow for a while."""
    host = any_node(bench, chance)
    host.slow_down(SLOW_KILOBITS)
    bench.tend_for(SLOW_S)
    if host.is_there:
        host.speed_up()


def kill_head(bench: Bench, _: random.Random) -> None:
    """End Ray's head process alone: its nodes and the driver find themselves without one."""
    bench.cluster.head.kill("gcs_server")
    end = time.monotonic() + HEADLESS_S
    while bench.driver is not None and bench.driver.status is None and time.monotonic() < end:
        time.sleep(0.3)


def kill_driver(bench: Bench, _: random.Random) -> None:
    """End the driver."""
    bench.cluster.head.kill(DRIVER)


def pause_driver(bench: Bench, _: random.Random) -> None:
    """Let the driver sleep past its lease, another take over, and the first wake up."""
    sleeper = bench.driver
    if sleeper is None or sleeper.status is not None:
        return
    owner = bench.owner()
    sleeper.pause()
    time.sleep(bench.lease_s + 1)
    try:
        bench.go_on()  # its workers find room once those of the sleeper are gone
        bench.tend_until(lambda: bench.owner() not in (None, owner), 120, "another driver takes over")
    finally:
        sleeper.wake()
    assert sleeper.wait(120) == 1  # it finds that its lease is another's
    assert "writes nothing more" in sleeper.said()


def lose_head_and_driver(bench: Bench, _: random.Random) -> None:
    """Lose the whole cluster, the driver with it."""
    bench.cluster.lose()


def restart_database(bench: Bench, _: random.Random) -> None:
    """Let the database crash and come back seconds later."""
    server = bench.deployment.postgres
    server.stop("immediate")
    time.sleep(AWAY_S)
    server.start()


def s3_answers_500(bench: Bench, _: random.Random) -> None:
    """Let the object store answer with an error of its own."""
    answer_with(bench, 500)


def s3_answers_503(bench: Bench, _: random.Random) -> None:
    """Let the object store say that it is busy."""
    answer_with(bench, 503)


def answer_with(bench: Bench, status: int) -> None:
    """Let the object store answer everything with a status for a while."""
    bench.deployment.store.fault = status
    bench.tend_for(AWAY_S)
    bench.deployment.store.fault = None


def tracking_away(bench: Bench, _: random.Random) -> None:
    """Take the tracking server away for a minute; no trial waits for it."""
    made = bench.evaluated()
    bench.deployment.tracking.stop()
    bench.tend_for(TRACKING_AWAY_S)
    went_on = bench.evaluated() > made or bench.driver is None or bench.driver.status is not None
    bench.deployment.tracking.start()
    assert went_on, "no evaluation was made while the tracking server was away"


def fill_disk(bench: Bench, _: random.Random) -> None:
    """Leave no room where checkpoints are written."""
    bench.deployment.disk.fill()
    bench.tend_for(AWAY_S)
    bench.deployment.disk.free()


def tear_checkpoint(bench: Bench, chance: random.Random) -> None:
    """Keep half of the latest checkpoint of a trial, and have it read."""
    damage_and_read(bench, chance, lambda content: content[: len(content) // 2])


def flip_checkpoint(bench: Bench, chance: random.Random) -> None:
    """Flip a bit of the latest checkpoint of a trial, and have it read."""

    def flipped(content: bytes) -> bytes:
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]

    damage_and_read(bench, chance, flipped)


def damage_and_read(bench: Bench, chance: random.Random, damage: Callable[[bytes], bytes]) -> None:
    """Change the latest checkpoint of a trial under way, and end all workers, so that it is gone on from."""
    begun = [trial for trial in bench.trials() if trial.evaluations and not trial.state.is_final]
    if begun:
        checkpoint = chance.choice(begun).evaluations[-1].checkpoint
        place = urlsplit(checkpoint)
        if place.scheme == "s3":
            client, key = bench.deployment.store.client, place.path.lstrip("/")
            content = client.get_object(Bucket=s3.BUCKET, Key=key)["Body"].read()
            client.put_object(Bucket=s3.BUCKET, Key=key, Body=damage(content))
        else:
            file = Path(place.path)
            file.write_bytes(damage(file.read_bytes()))
    for host, _ in bench.cluster.nodes:
        host.kill(WORKER)


ANYWHERE: dict[str, Fault] = {
    "worker killed": kill_worker,
    "raylet killed": kill_raylet,
    "node lost": lose_node,
    "node cut off and back": cut_off_node,
    "slow link": slow_link,
    "head killed": kill_head,
    "driver killed": kill_driver,
    "driver paused past its lease": pause_driver,
    "head and driver lost": lose_head_and_driver,
    "database restarted": restart_database,
    "MLflow away for a minute": tracking_away,
    "checkpoint torn": tear_checkpoint,
    "checkpoint with a bit flipped": flip_checkpoint,
}
ON_S3: dict[str, Fault] = {"S3 answers 500": s3_answers_500, "S3 answers 503": s3_answers_503}
ON_DISK: dict[str, Fault] = {"disk full": fill_disk}
FAULTS = {**ANYWHERE, **ON_S3, **ON_DISK}
