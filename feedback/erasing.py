"""Erasing: what people asked and said is gone from every file that Pawl keeps. ``pawl forget``.

The tables are append-only and snapshots are named by their content; this is the one exception:

    plan         erasures/<id>.unfinished.json: who, asked by whom; written first, removed last
    files        snapshots deleted; runs, scores, probe records, exports redacted; logs overwritten
    search       every other file is searched for the person's ids, name and words
    store        the database is written anew without the rows (``feedback.rewriting``): one rename
    certificate  erasures/<id>.json and .txt, without the person's name

The files come before the store, whose rows say what to look for. So a kill leaves either rows to
begin again from, or nothing but the certificate to write; whoever opens the state folder next
carries it on. One that can't be finished keeps its plan, and no other from its end.

A row is a person's by the name that it stands under (``rater_id``), and so is what others said of
their answers. Conversations that people deleted go the same way, many at once.
(``feedback.retention`` erases by age.)

Over 400 lines because an erasing is read in one place, from its plan to its certificate.
"""

from __future__ import annotations

import json
import logging
import secrets
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feedback import erased_files as files
from feedback.backup import BACKUPS
from feedback.certificate import certificate_text
from feedback.champion import BASE_VERSION
from feedback.conversations import ALIVE
from feedback.erased_files import UNFINISHED, Decode, Theirs
from feedback.erased_rows import (
    BEFORE_DELETION,
    Selection,
    changes_of,
    names_of,
    newest_of,
    prompts_of_others,
    read_theirs,
)
from feedback.forgotten import subject_hash
from feedback.fresh import keep_learned
from feedback.redaction import Redactor, Search
from feedback.store import Store
from pawl import __version__
from pawl.errors import PawlError
from pawl.files import hold_lock, read_json, sync_dir, write_atomic, write_json
from pawl.schedule import NIGHTS_LOCK
from pawl.schemas import Feedback, utc_now
from pawl.settings import Settings

_log = logging.getLogger("pawl.erasing")
Say = Callable[[str], None]

# Where a person's names and ids stand in the store: in what they asked and said, and elsewhere.
_ROWS_OF = (
    ("completions", "rater_id"), ("feedback", "rater_id"), ("feedback", "completion_id"),
    ("feedback", "preferred_over"), ("completions", "completion_id"), ("reviews", "reviewer"),
    ("reviews", "completion_id"), ("presets", "rater_id"),
    ("accounts", "name"), ("sessions", "account"), ("keys", "name"), ("audit", "caller"),
    ("version_settings", "made_by"),
)  # fmt: skip
_N_WORDS = 8
_MOST_FAILED = 8  # plans; more fail by no fault of their own, and what is deleted waits unplanned
MOST_SECONDS = 300.0  # that one waits for another at ``erasing.lock``


def preview(store: Store, settings: Settings, user: str) -> dict[str, Any]:
    """What ``forget`` would erase, nothing done: counts, snapshots, adapters, copies."""
    names = names_of(store, user)
    with store.rewriter.database.reading() as cursor:
        theirs, n = read_theirs(cursor, Selection(names))
    snapshots = files.read_snapshots(settings.snapshots_dir, theirs)
    files.read_run_rows(settings.runs_dir, theirs)
    copies = files.erase_copies(settings.state_dir, really=False)
    copies |= files.erase_checkpoints(settings.state_dir, snapshots, really=False)
    adapters = files.trained_on(settings.state_dir, theirs.n_trained)
    return {
        "names": list(names),
        "counts": dict(n) | {"training rows": len(theirs.rows)},
        "snapshots": sorted(snapshots),
        "adapters": [one["adapter"] for one in adapters],
        "copies": sorted(copies),
        "backups": _backups(settings.state_dir),
    }


def forget(
    store: Store,
    settings: Settings,
    user: str,
    asked_by: str,
    *,
    decode: Callable[[str], Decode | None] = lambda fingerprint: None,
    say: Say = lambda step: None,
    wait_seconds: float = MOST_SECONDS,
) -> dict[str, Any]:
    """Erase a person, with their account or key and the raters that it named; the certificate.

    Args:
        user: a rater's id, or the name of an account or key.
        decode: by a base's fingerprint, how its token ids become text.
        say: called with the name of each step as it begins.

    Raises:
        PawlError: a night or ``pawl why`` runs (``night_runs``), nothing is kept under the name, or
            a step failed; what was begun is carried on by the next call, and by the next start.
    """
    plan = _plan(asked_by, user)
    with alone(settings, wait_seconds):
        finished, failed = _finish(store, settings, _plans_left(settings), decode, say)
        for before, err in failed:
            if before["subject_sha256"] == subject_hash(before["salt"], user):
                raise err
        carried = [done for done in finished if _is_of(done, user)]
        for done in carried:
            if "until" not in done:
                return done
        try:
            names = names_of(store, user)
        except PawlError:
            if carried:  # it was all that is kept
                return carried[-1]
            raise
        plan |= {"names": list(names)}
        _save_plan(settings, plan)
        _end_access(store, names)
        return _Erasure(store, settings, plan, decode, say).run()


def forget_own(store: Store, settings: Settings, user: str) -> None:
    """Write the plan by which the next erasing (``erase_deleted``) takes all out of the files that
    was asked and said under exactly this name until now. Presets are hidden at once, and feedback
    counts no more; the account or key of the name stands.

    Raises:
        PawlError: nothing is kept under the name (``unknown_user``).
    """
    names_of(store, user)
    store.conversations.delete_presets(user)
    store.flush()
    with store.rewriter.database.reading() as cursor:
        until = max(utc_now(), newest_of(cursor, user))  # the clock may have stepped back
    own = {"names": [user], "keeps_access": True, "until": until}
    _save_plan(settings, _plan(user, user) | own)
    _take_back(store, user, until)


def _take_back(store: Store, user: str, at: str) -> None:
    """Retract all that counts of a person's feedback; waits for the commits."""
    rows = [
        Feedback(f"fb-{uuid.uuid4().hex}", uuid.uuid4().hex, one.completion_id, one.choice_index,
                 user, at, retracted=True)
        for one in store.current_feedback(rater_id=user)
    ]  # fmt: skip
    for waiting in [store.append_feedback(row) for row in rows]:
        try:
            waiting.result()
        except PawlError as err:
            if err.code != "completion_not_found":  # the answer was erased meanwhile
                raise


def erase_deleted(
    store: Store,
    settings: Settings,
    *,
    decode: Callable[[str], Decode | None] = lambda fingerprint: None,
    is_night: bool = False,
    wait_seconds: float = MOST_SECONDS,
) -> dict[str, Any] | None:
    """Erase the conversations, and notes of them, that their people deleted; the certificate, or
    None where there are none. What was interrupted, or had to wait, is carried on before.

    Args:
        is_night: a night asks, which has nothing of its own yet. What can't be finished waits for
            the next erasing.

    Raises:
        PawlError: as ``forget``.
        Exception: of the first that can't be finished, when the others are done; not for a night.
    """
    held = while_erasing(settings, wait_seconds) if is_night else alone(settings, wait_seconds)
    with held:
        _, failed = _finish(store, settings, _plans_left(settings), decode)
        planned = {one for plan, _ in failed for one in plan.get("completion_ids", ())}
        store.flush()
        with store.rewriter.database.reading() as cursor:
            gone = cursor.execute(
                f"SELECT DISTINCT completion_id FROM completions WHERE NOT ({ALIVE})"
            ).fetchall()
            noted = [
                cursor.execute(f"SELECT 1 FROM main.{table} WHERE {condition} LIMIT 1").fetchone()
                for table, condition in BEFORE_DELETION.items()
            ]
        ids = sorted({completion_id for (completion_id,) in gone} - planned)
        done: list[dict[str, Any]] = []
        if (ids or any(noted)) and len(failed) < _MOST_FAILED:
            plan = _plan("the people whose they were", "") | {"names": [], "completion_ids": ids}
            done, more = _finish(store, settings, [plan], decode)
            failed += more
        if failed and not is_night:
            raise failed[0][1]
        return done[0] if done else None


def _plan(asked_by: str, subject: str) -> dict[str, Any]:
    at, salt = datetime.now(UTC), secrets.token_hex(16)
    return {
        "erasure_id": f"erasure-{at:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        "asked_by": asked_by,
        "created_at": utc_now(),
        "key": secrets.token_hex(32),
        "salt": salt,
        "subject_sha256": subject_hash(salt, subject),
    }


def carry_on(
    store: Store,
    settings: Settings,
    *,
    decode: Callable[[str], Decode | None] = lambda fingerprint: None,
    say: Say = lambda step: None,
) -> list[dict[str, Any]]:
    """Finish what a kill interrupted; the certificates. While a night runs it waits for later, and
    so does what can't be finished."""
    if not _unfinished(settings):
        return []
    try:
        with alone(settings, 0.0):  # a start waits for nobody
            return _finish(store, settings, _plans_left(settings), decode, say)[0]
    except PawlError as err:
        if err.code not in ("locked", "night_runs"):
            raise
        _log.warning("an erasing that was interrupted waits: %s", err)
        return []


def _finish(
    store: Store,
    settings: Settings,
    plans: list[dict[str, Any]],
    decode: Callable[[str], Decode | None],
    say: Say = lambda step: None,
) -> tuple[list[dict[str, Any]], list[tuple[dict[str, Any], Exception]]]:
    """Carry out each plan, whatever becomes of the others; the certificates, and the plans that
    failed, which stay, with their errors."""
    done, failed = [], []
    for plan in plans:
        try:
            done.append(_Erasure(store, settings, plan, decode, say).run())
        except Exception as err:
            _log.exception("%s can't be finished; the next erasing tries again", plan["erasure_id"])
            failed.append((plan, err))
    return done, failed


def _unfinished(settings: Settings) -> list[Path]:
    return sorted((settings.state_dir / "erasures").glob(f"*{UNFINISHED}"))


def _plans_left(settings: Settings) -> list[dict[str, Any]]:
    """The plans to carry on. Of a person who asked again while the first time waited the last one
    stays: it erases what the others would."""
    plans = []
    for path in _unfinished(settings):
        try:
            plans.append(read_json(path))
        except (OSError, PawlError):
            _log.exception("%s can't be read: this erasing waits", path.name)
    waiting = [one for one in plans if "until" in one and "counts" not in one]
    last = {one["names"][0]: one for one in sorted(waiting, key=lambda one: str(one["until"]))}
    for one in waiting:
        if one is not last[one["names"][0]]:
            _plan_path(settings, one).unlink()
            plans.remove(one)
    return plans


def _plan_path(settings: Settings, plan: dict[str, Any]) -> Path:
    return settings.state_dir / "erasures" / f"{plan['erasure_id']}{UNFINISHED}"


def _is_of(certificate: dict[str, Any], user: str) -> bool:
    return bool(certificate["subject_sha256"] == subject_hash(certificate["subject_salt"], user))


def _save_plan(settings: Settings, plan: dict[str, Any]) -> None:
    path = _plan_path(settings, plan)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    text = json.dumps(plan, ensure_ascii=False, indent=1)
    write_atomic(path, text + "\n", mode=0o600)


class _Erasure:
    """One erasing of a person, from its plan to its certificate."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        plan: dict[str, Any],
        decode: Callable[[str], Decode | None],
        say: Say,
    ) -> None:
        self.store, self.settings, self.plan = store, settings, plan
        self._decode, self._say = decode, say
        self._folder = settings.state_dir / "erasures"
        self._names = tuple(plan["names"])
        self._until: str | None = plan.get("until")
        # Whoever may go on is forgotten until they asked, by the clock of now.
        self._forgotten_until: str | None = plan["created_at"] if self._until else None
        self._selection = Selection(
            self._names,
            completion_ids=tuple(plan.get("completion_ids", ())),
            until=self._until,
        )
        self._is_whole = not plan.get("keeps_access", False)

    def run(self) -> dict[str, Any]:
        """Every step; the certificate."""
        access = self.store.access
        callers = {one.name for one in access.accounts.all_accounts()}
        callers |= {one.name for one in access.all_keys()}
        ids = set(self._names)
        if self._is_whole:
            ids |= {f"{name}/" for name in callers.intersection(self._names)}
        with self.store.forgotten.erasing(ids, self._forgotten_until):
            self.store.flush()  # what came before is found below, what comes now is not kept
            return self._run(ids)

    def _run(self, ids: set[str]) -> dict[str, Any]:
        settings, plan = self.settings, self.plan
        names = sorted(ids)
        self._step("plan")
        self._save()
        with self.store.rewriter.database.reading() as cursor:
            theirs, counts = read_theirs(cursor, self._selection, self._is_whole)
        ids |= theirs.completion_ids
        self.store.forgotten.add(theirs.completion_ids)
        snapshots = files.read_snapshots(settings.snapshots_dir, theirs) | plan.get("snapshots", {})
        files.read_run_rows(settings.runs_dir, theirs)
        with self.store.rewriter.database.reading() as cursor:
            held = prompts_of_others(cursor, self._selection, theirs)
        keep_learned(self.store, theirs.row_ids() & held)
        theirs.ids |= (theirs.row_ids() - held) | set(plan.get("ids", ()))
        theirs.chosen |= set(plan.get("chosen", ()))
        # Written down before anything goes: a second run may not find them any more.
        plan |= {"snapshots": snapshots, "ids": sorted(theirs.ids)}
        plan["n_trained"] = theirs.n_trained | plan.get("n_trained", {})
        plan["chosen"] = sorted(theirs.chosen)
        plan.setdefault("counts", {**counts, "training rows": len(theirs.rows)})
        self._save()
        search, in_sentences, in_logs, by_id = theirs.searches()
        key = bytes.fromhex(plan["key"])

        def redactor() -> Redactor:
            return Redactor(theirs.ids, key, search, in_sentences, theirs.chosen)

        found = self._erase_files(theirs, by_id, redactor)
        self._step("search")
        folders = {settings.state_dir, settings.exchange_dir}
        searched = files.search_files(settings.state_dir, folders, search, in_logs)
        self._step("store")
        size = settings.database_path.stat().st_size
        tables = self.store.rewriter.rewrite(changes_of(self._selection, redactor(), theirs))
        self.store.load()
        self._step("certificate")
        certificate = self._finish({
            **found,
            "names_sha256": [subject_hash(plan["salt"], name) for name in names],
            "searched": asdict(searched),
            "store": {
                "tables": tables,
                "n_bytes_before": size,
                "n_bytes_after": settings.database_path.stat().st_size,
                "found": self._search_store(theirs),
            },
        })  # fmt: skip
        self.store.forgotten.end(ids, certificate["finished_at"])
        if self._forgotten_until is not None:
            self.store.forgotten.end(self._names, self._forgotten_until)
        return certificate

    def _erase_files(
        self, theirs: Theirs, by_id: Search, redactor: Callable[[], Redactor]
    ) -> dict[str, Any]:
        """Redact or delete; what the certificate says of it."""
        settings, plan = self.settings, self.plan
        snapshots = plan["snapshots"]
        self._step("adapters")
        adapters = files.trained_on(settings.state_dir, plan["n_trained"])
        for one in adapters:
            decode = self._decode(str(one.pop("base_fingerprint")))
            folder = settings.state_dir / one["dir"]
            one["n_probe_positions_left"] = files.redact_probe(folder, theirs, by_id, decode)
            one["is_champion"] = one["adapter"] == self.store.champion()
        self._step("runs")
        done: dict[str, dict[str, Any]] = {
            "runs": files.redact_runs(settings.runs_dir, redactor),
            "scores": dict.fromkeys(files.erase_scores(settings.scores_dir, theirs.ids), True),
        }
        self._step("exports")
        done["exports"] = files.erase_exports(settings.exchange_dir, theirs, by_id)
        done["copies"] = files.erase_copies(settings.state_dir)
        done["copies"] |= files.erase_checkpoints(settings.state_dir, snapshots)
        self._step("snapshots")
        tombstone = {
            "erased_at": utc_now(),
            "asked_by": self._told(plan["asked_by"]),
            "erasure_id": plan["erasure_id"],
        }
        files.erase_snapshots(settings.snapshots_dir, snapshots, tombstone)
        before = plan.get("files", {})  # of a run that was killed
        plan["files"] = {name: {**before.get(name, {}), **found} for name, found in done.items()}
        self._save()
        return {
            "snapshots": [{"snapshot_id": name, **found} for name, found in snapshots.items()],
            "adapters": adapters,
            "files": plan["files"],
        }

    def _search_store(self, theirs: Theirs) -> int:
        """How many rows still stand under the person's names or ids."""
        values: list[Any] = [sorted(theirs.completion_ids), list(self._names)]
        until = "true" if self._until is None else "{at} <= ?"
        values += [] if self._until is None else [self._until]
        columns = _ROWS_OF if self._is_whole else _ROWS_OF[:_N_WORDS]
        sql = " + ".join(
            f"(SELECT count(*) FROM main.{table} WHERE {column} IN (SELECT unnest(?::VARCHAR[]))"
            f" OR ({column} IN (SELECT unnest(?::VARCHAR[])) AND "
            + until.format(at="changed_at" if table == "presets" else "created_at")
            + "))"
            for table, column in columns
        )
        with self.store.rewriter.database.reading() as cursor:
            [(n,)] = cursor.execute(f"SELECT {sql}", values * len(columns)).fetchall()
        return int(n)

    def _finish(self, found: dict[str, Any]) -> dict[str, Any]:
        plan = self.plan
        certificate = {
            "erasure_id": plan["erasure_id"],
            "asked_by": self._told(plan["asked_by"]),
            "begun_at": plan["created_at"],
            "finished_at": utc_now(),
            "pawl_version": __version__,
            "subject_salt": plan["salt"],
            "subject_sha256": plan["subject_sha256"],
            "counts": plan["counts"],
            **({} if self._until is None else {"until": self._until}),
            **found,
            "choices": self._choices(found["adapters"]),
            "backups": _backups(self.settings.state_dir),
        }
        write_json(self._folder / f"{plan['erasure_id']}.json", certificate)
        text = certificate_text(certificate)
        write_atomic(self._folder / f"{plan['erasure_id']}.txt", text, mode=0o600)
        _plan_path(self.settings, plan).unlink()
        sync_dir(self._folder)
        _log.info("%s finished", plan["erasure_id"])
        return certificate

    def _choices(self, adapters: list[dict[str, Any]]) -> list[str]:
        """What the operator may do about adapters that learned from the person."""
        if not adapters:
            return []
        trained = {one["adapter"] for one in adapters}
        champion = self.store.champion()
        choices = ["pawl nightly --fresh    (train anew on the rows that are left)"]
        weights_of = self.store.weights_of
        if weights_of(champion) in trained:
            live = [one.version for one in self.store.promotions() if one.outcome == "live"]
            back = next((v for v in reversed(live) if weights_of(v) not in trained), BASE_VERSION)
            choices.append(
                f"pawl rollback --to {back}    (the newest champion not trained on them)"
            )
        return choices

    def _told(self, caller: str) -> str:
        """Who asked, unless it was the person."""
        return "the person" if caller in self._names else caller

    def _step(self, name: str) -> None:
        _log.info("%s: %s", self.plan["erasure_id"], name)
        self._say(name)

    def _save(self) -> None:
        _save_plan(self.settings, self.plan)


def _end_access(store: Store, names: tuple[str, ...]) -> None:
    """Let nobody sign in or ask under these names from now on."""
    for name in names:
        if store.access.accounts.account(name) is not None:
            store.access.accounts.remove(name)
        if any(key.name == name and key.revoked_at is None for key in store.access.all_keys()):
            store.access.revoke_key(name)


def while_erasing(
    settings: Settings, wait_seconds: float = MOST_SECONDS
) -> AbstractContextManager[None]:
    """Held by whoever erases: no ``while_reading``, no other erasing meanwhile."""
    return hold_lock(
        settings.state_dir / "erasing.lock",
        "an erasing, a backup, an export or a snapshot is under way",
        "Wait for it to end",
        wait_seconds=wait_seconds,
    )


def while_reading(settings: Settings) -> AbstractContextManager[None]:
    """Held by whoever writes elsewhere what they read of people (snapshots, exports, imports,
    backups, 'pawl why'): it would bring back what is erased meanwhile. Shared; waits for the end
    of an erasing."""
    return hold_lock(
        settings.state_dir / "erasing.lock",
        "an erasing is under way",
        "Wait for it to end",
        wait_seconds=MOST_SECONDS,
        shared=True,
    )


@contextmanager
def alone(settings: Settings, wait_seconds: float = MOST_SECONDS) -> Iterator[None]:
    """No other erasing, and no night, whose files would be half before it and half after it."""
    with ExitStack() as held:
        held.enter_context(while_erasing(settings, wait_seconds))
        try:
            held.enter_context(hold_lock(settings.state_dir / NIGHTS_LOCK, "a night runs", ""))
        except PawlError as err:
            raise PawlError(
                err.what,
                "it works with what is to be erased",
                "Wait for its end, or stop it; 'pawl nightly' carries on what is left of it",
                retryable=True,
                code="night_runs",
            ) from None
        yield


def certificates(state_dir: Path) -> list[dict[str, Any]]:
    """The certificates that are kept, oldest first."""
    return [read_json(path) for path in _finished(state_dir)]


def _finished(state_dir: Path) -> list[Path]:
    paths = sorted((state_dir / "erasures").glob("*.json"))
    return [path for path in paths if not path.name.endswith(UNFINISHED)]


def recall(store: Store, state_dir: Path) -> None:
    """Let a store that was opened know whom earlier erasings forgot: another gateway may bring what
    began before. An earlier version's certificate knows the one name that was asked for. One that
    can't be read is logged."""
    for path in _finished(state_dir):
        try:
            one = read_json(path)
            hashes = one.get("names_sha256", [one["subject_sha256"]])
            until = one["begun_at"] if "until" in one else one["finished_at"]
            store.forgotten.recall(until, one["subject_salt"], hashes)
        except (OSError, PawlError, KeyError, TypeError, AttributeError):
            _log.exception("%s can't be read: what began before it comes in again", path.name)


def _backups(state_dir: Path) -> list[dict[str, Any]]:
    path = state_dir / BACKUPS
    lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
    return [_backup(line) for line in lines]


def _backup(line: str) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError):  # a power cut, or a full disk, left a piece of it
        return {"path": line, "created_at": "an unknown time"}
