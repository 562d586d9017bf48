"""Random tries of callers to read, rate and retract what is another caller's."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.serve.api.callers import FEEDBACK, Keyed, ask


@dataclass
class Tries:
    """What was tried, and every hole that was found, in words."""

    server: Keyed
    clients: dict[str, httpx.Client]
    names_raters: str | None = None  # of the clients, the one whose key names raters
    draw: random.Random = field(default_factory=lambda: random.Random(0))
    ids: dict[str, list[str]] = field(default_factory=dict)
    holes: list[str] = field(default_factory=list)
    n_by_kind: dict[str, int] = field(default_factory=dict)

    def run(self, n: int) -> Tries:
        for name, client in self.clients.items():
            self.ids[name] = [self._ask(name, client, number) for number in range(4)]
        store = self.server.server.store
        all_ids = [one for ids in self.ids.values() for one in ids]
        rows = [store.feedback_history(one) for one in all_ids]
        n_before = store.counts()["feedback_rows"]
        for _ in range(n):
            attacker, victim = self.draw.sample(sorted(self.clients), 2)
            self._try(attacker, victim)
        if store.counts()["feedback_rows"] != n_before or rows != [
            store.feedback_history(one) for one in all_ids
        ]:
            self.holes.append("rows of feedback were added or changed")
        for name, client in self.clients.items():  # what is one's own is reached
            found = client.get(FEEDBACK, params={"completion_id": self.ids[name][0]}).json()
            talk = client.get(f"/v1/conversations/talk-{name}-0").json()
            if [row["comment"] for row in found] != [f"said by {name}"] or (
                talk["messages"][0]["content"] != f"secret of {name}, 0"
            ):
                self.holes.append(f"{name} does not reach its own")
        return self

    def _ask(self, name: str, client: httpx.Client, n: int) -> str:
        headers = {"X-Pawl-Conversation": f"talk-{name}-{n % 2}"}
        if name == self.names_raters and n % 2:
            headers["X-Pawl-Rater"] = "ann"
        completion_id = ask(client, f"secret of {name}, {n % 2}", **headers)
        body = {"completion_id": completion_id, "thumb": "down", "comment": f"said by {name}",
                "idempotency_key": f"key-{name}-{n}"}  # fmt: skip
        client.post(FEEDBACK, json=body, headers=headers).raise_for_status()
        return completion_id

    def _try(self, attacker: str, victim: str) -> None:
        kind = self.draw.choice((
            "read", "talk", "list", "name", "erase", "thumb", "words", "clear", "retract", "over",
            "under", "batch",
        ))  # fmt: skip
        answer = self._send(attacker, victim, kind)
        self.n_by_kind[kind] = self.n_by_kind.get(kind, 0) + 1
        told = "secret of" in answer.text or "said by" in answer.text
        refused = answer.status_code == 404
        if kind == "list":
            refused = answer.json() == {"conversations": [], "n_found": 0}
        if kind == "batch":  # one answer for each of it
            refused = "completion_not_found" in answer.text
        if not refused or told:
            self.holes.append(f"{attacker} at {victim}, {kind}: {answer.status_code} "
                              f"{answer.request.content!r} {answer.text[:200]}")  # fmt: skip

    def _send(self, attacker: str, victim: str, kind: str) -> httpx.Response:
        draw, client = self.draw, self.clients[attacker]
        theirs, own = draw.choice(self.ids[victim]), draw.choice(self.ids[attacker])
        named = draw.choice([victim, victim.upper(), f"../{victim}", f"{victim}/ann", f"x/{victim}",
                             "anonymous", "api_key", "admin.key", f"%2e/{victim}"])  # fmt: skip
        headers = {"X-Pawl-Rater": named} if draw.random() < 0.7 else {}
        headers |= {"X-Pawl-Conversation": f"talk-{victim}-0"} if draw.random() < 0.3 else {}
        headers |= {"X-Pawl-Source": "chat_page"} if draw.random() < 0.3 else {}
        body: dict[str, Any] = {"completion_id": theirs}
        if draw.random() < 0.5:
            body["user"] = named
        if draw.random() < 0.5:
            body["idempotency_key"] = f"key-{victim}-{draw.randrange(4)}"
        if kind == "read":
            return client.get(FEEDBACK, params={"completion_id": theirs}, headers=headers)
        if kind == "talk":
            talk = f"/v1/conversations/talk-{victim}-{draw.randrange(2)}"
            return client.get(talk, headers=headers)
        if kind == "name":
            talk = f"/v1/conversations/talk-{victim}-{draw.randrange(2)}"
            return client.post(talk, json={"title": "mine", "learn": False}, headers=headers)
        if kind == "erase":
            theirs = f"talk-{victim}-{draw.randrange(2)}"
            return client.post("/v1/erasures", json={"conversation_id": theirs}, headers=headers)
        if kind == "list":
            query = {"search": f"secret of {victim}", "begins_with": "talk-"}
            return client.get("/v1/conversations", params=query, headers=headers)
        fields: dict[str, dict[str, Any]] = {
            "thumb": {"thumb": draw.choice(["up", "down"])},
            "words": {"correction": "mine", "comment": "mine", "categories": ["incorrect"]},
            "clear": {"comment": "", "categories": []},
            "retract": {"retract": True},
            "batch": {"retract": True},
            "over": {"preferred_over": own},
            "under": {"completion_id": own, "preferred_over": theirs},
        }
        body |= fields[kind]
        if draw.random() < 0.2:
            body["choice_index"] = draw.randrange(3)
        if kind == "batch":
            return client.post(f"{FEEDBACK}/batch", json={"feedback": [body]}, headers=headers)
        return client.post(FEEDBACK, json=body, headers=headers)
