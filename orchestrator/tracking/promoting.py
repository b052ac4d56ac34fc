"""Promotion: a version becomes its sweep's champion, once it has beaten the one before on the same data."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import workloads
from orchestrator.errors import UserError, presentable
from orchestrator.settings import Settings
from orchestrator.tracking.client import import_mlflow, open_to_look, talking_to
from orchestrator.tracking.contest import CHALLENGER, CHAMPION, Entrant, Verdict, aliases_of, enthrone, judge
from orchestrator.tracking.model import may_exist
from orchestrator.tracking.versions import Details, details
from orchestrator.tracking.view import key_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from workloads.protocol import Dataset

FORCE = "--force promotes it all the same"


@dataclass(frozen=True, slots=True)
class Promoted:
    """What came of a promotion."""

    uri: str
    before: str
    """URI of the champion before; empty where there was none, and that of the version itself where it was that."""
    verdict: Verdict
    forced: bool
    """Whether it became the champion although it is not better."""


def find(settings: Settings, reference: str, *, default: str = CHAMPION) -> tuple[str, str]:
    """Return name and version that `NAME`, `NAME/VERSION`, `NAME@ALIAS` or a `models:/` URI stands for.

    A name alone is its `default` alias. Raises UserError where there is none.
    """
    from mlflow.exceptions import MlflowException

    name, separator, which = reference.removeprefix("models:/").partition("@")
    if not separator:
        name, separator, which = name.partition("/")
    client = client_of(settings, reference)
    try:
        aliases = aliases_of(client, name)
        if separator == "/":
            return name, str(client.get_model_version(name, which).version)
    except MlflowException as error:
        why = f"no such model in {settings.tracking_uri}: {error}"
        raise UserError(f"NAME: {reference}: {why}; see `bptt models list`") from error
    alias = which or default
    if alias not in aliases:
        there = ", ".join(sorted(aliases)) or "none"
        raise UserError(f"NAME: {name} has no {alias} (aliases: {there}); name a version, as in {name}/1")
    return name, aliases[alias]


def client_of(settings: Settings, reference: str) -> MlflowClient:
    """Return a client to look with; UserError where there can be no model."""
    if not may_exist(settings):
        raise UserError(f"{reference}: no model is registered yet in {settings.tracking_uri}; see `bptt run`")
    import_mlflow()
    return open_to_look(settings)


def look_up(settings: Settings, reference: str, *, default: str = CHAMPION) -> Details:
    """Return all that is known of a version; UserError where there is none, or where no sweep registered it."""
    name, version = find(settings, reference, default=default)
    return details(client_of(settings, reference), name, version)


def promote(settings: Settings, reference: str, *, force: bool) -> Promoted:
    """Let a version be the champion; UserError where it is not better than the one before, unless forced."""
    new = look_up(settings, reference, default=CHALLENGER)
    name, version, client = new.model.name, new.model.version, client_of(settings, reference)
    holder = aliases_of(client, name).get(CHAMPION)
    if holder in (None, version):
        verdict = Verdict(True, None, "there is no other" if holder is None else "it is the champion already")
        if holder is None:
            enthrone(client, name, version, verdict.reason)
        return Promoted(new.model.uri, "" if holder is None else new.model.uri, verdict, forced=False)
    verdict = contest(settings, new, f"{name}/{holder}", force=force)
    if not verdict.is_better and not force:
        raise UserError(f"{new.model.uri}: {verdict.reason}; {FORCE}")
    forced = not verdict.is_better
    now = aliases_of(client, name).get(CHAMPION)  # scoring takes a while, and a sweep or a user may promote meanwhile
    if now != holder and not forced:
        raise UserError(f"{new.model.uri}: version {now} took the place of {holder} meanwhile; promote it again")
    enthrone(client, name, version, f"forced, although {verdict.reason}" if forced else verdict.reason)
    return Promoted(new.model.uri, f"models:/{name}/{holder}", verdict, forced=forced)


def contest(settings: Settings, new: Details, holder: str, *, force: bool) -> Verdict:
    """Score `new` and `holder` anew on the same data, and compare; UserError where that cannot be, unless forced."""
    try:
        old = look_up(settings, holder)
        known = judge(new.entrant, old.entrant)
        if known.metric is None:
            return known
        return judge(*scored_anew(settings, new, old))
    except UserError as error:
        if force:
            return Verdict(False, None, str(error))
        raise UserError(f"{error}; {FORCE}") from error


def scored_anew(settings: Settings, *versions: Details) -> tuple[Entrant, ...]:
    """Return versions with metrics measured now, on data that are those they were trained on.

    Raises UserError where data or model cannot be had, or where the data have changed.
    """
    from workloads.scoring import score

    found: list[Entrant] = []
    prepared: dict[str, Dataset] = {}
    for version in versions:
        kind, options, checkpoint = contents(settings, version.model.uri)
        key = json.dumps([kind, options], sort_keys=True)
        try:
            workload = workloads.load(kind, options)
            dataset = prepared[key] = prepared.get(key) or workload.prepare()
            if dataset.fingerprint != version.fingerprint:
                raise UserError(
                    f"{version.model.uri}: the data have changed since it was trained (fingerprint "
                    f"{version.fingerprint}, now {dataset.fingerprint}); restore them to compare models"
                )
            metrics = {key_of(name): value for name, value in score(workload, checkpoint, dataset).items()}
        except (ValueError, OSError) as error:
            raise UserError(f"{version.model.uri}: it cannot be scored anew: {presentable(str(error))}") from error
        found.append(replace(version.entrant, metrics=metrics))
    return tuple(found)


def contents(settings: Settings, uri: str) -> tuple[str, dict[str, object], bytes]:
    """Return what a registered model is rebuilt from: its workload's kind and options, and its checkpoint."""
    mlflow = import_mlflow()
    from mlflow.exceptions import MlflowException

    with talking_to(settings), tempfile.TemporaryDirectory() as folder:
        try:
            package = Path(mlflow.artifacts.download_artifacts(f"{uri}/artifacts", dst_path=folder))
            config = json.loads((package / "config.json").read_text(encoding="utf-8"))
            return config["kind"], config["options"], (package / "checkpoint.ckpt").read_bytes()
        except (MlflowException, OSError, ValueError, KeyError) as error:
            raise UserError(f"{uri}: its files cannot be read: {presentable(str(error))}") from error
