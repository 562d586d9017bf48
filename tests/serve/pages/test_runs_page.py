"""The runs page in a real browser: who may open it, actions asked twice, a night as it goes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from pawl.files import hold_lock, write_json
from pawl.runs import PROGRESS
from pawl.schemas import Account, Role, RunProgress, utc_now
from pawl.settings import Settings
from serve.api.passwords import Passwords
from tests.serve.console import Console
from tests.serve.pages.composed import composed
from tests.serve.pages.nights import night, rejected_night
from tests.serve.pages.tab import LEAVING, Tab
from tests.serve.pages.test_people import GOOD, sign_in
from tests.serve.pages.test_review import HOSTILE, flag

pytestmark = pytest.mark.browser
PICTURES = os.environ.get("PICTURES")  # a folder to keep pictures of the page in, for people


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    settings = Settings(
        state_dir=tmp_path_factory.mktemp("runs-page") / "state", promotion={"approval": True}
    )
    with composed(settings) as running:
        hashed, now = Passwords(memory_kib=8, n_passes=1).hash(GOOD), utc_now()
        people = (("ann", Role.USER), ("rita", Role.REVIEWER), ("olga", Role.ADMINISTRATOR))
        for name, role in people:
            running.store.access.accounts.add(Account(name, role, hashed, False, None, now, now))
        one = Console(running)
        yield one
        one.http.close()


def opened(browser: Browser, console: Console, query: str = "", **context: Any) -> Tab:
    tab = Tab(browser.new_context(**context).new_page())
    tab.watch()
    tab.page.on("requestfailed", lambda request: _leave_out_what_the_policy_kept(tab, request))
    tab.page.goto(f"{console.server.url}/runs/{query}")
    sign_in(tab.page, "olga")
    expect(tab.page.locator("#runs-detail, #runs-detail .runs-none").first).to_be_visible(
        timeout=240_000
    )
    return tab


def _leave_out_what_the_policy_kept(tab: Tab, request: Request) -> None:
    if "csp" in str(request.failure).lower():  # it was not sent
        tab.urls.remove(request.url)


def over(tab: Tab) -> None:
    """Nothing went wrong on the page, and nothing came from elsewhere."""
    assert tab.complaints == []
    assert all("127.0.0.1" in url or url.startswith(("data:", "blob:", "about:"))
               for url in tab.urls)  # fmt: skip
    tab.page.context.close()


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)


def actions(console: Console) -> list[tuple[str, str]]:
    """What olga did, as the audit log has it."""
    rows = console.http.get("/admin/audit").json()
    return [(row["action"], row["outcome"]) for row in rows
            if row["caller"] == "olga" and row["action"] != "sign in"]  # fmt: skip


@pytest.mark.parametrize("name", ["ann", "rita"])
def test_only_operators_open_it(console: Console, browser: Browser, name: str) -> None:
    page = browser.new_context().new_page()
    page.goto(f"{console.server.url}/runs/")
    sign_in(page, name)
    expect(page.get_by_role("alert")).to_contain_text("may not open this page")
    for path in ("config", "gradio_api/queue/data?session_hash=x"):
        assert page.request.get(f"{console.server.url}/runs/{path}").status == 403
    links = page.request.get(f"{console.server.url}/pages.json").json()
    assert "Runs" not in [link["label"] for link in links]
    page.context.close()


def test_each_action_is_asked_twice_and_logged(console: Console, browser: Browser) -> None:
    night(console, "run-1")
    assert console.promote("run-1")["outcome"] == "waiting"
    tab = opened(browser, console)
    page, keys = tab.page, tab.page.keyboard
    detail, notice = page.locator("#runs-detail"), page.locator(".op-notice")
    expect(detail).to_contain_text("UTC: pawl@1 waits for approval, by the operator's key")
    expect(page.locator(".runs-state")).to_contain_text("waits: approve or reject it")
    picture(page, "runs-waiting")
    page.get_by_role("button", name="Approve").press("Enter")
    question = page.locator(".op-asked")
    expect(question).to_contain_text("Let pawl@1 of run-1 answer instead of base?")
    expect(question).to_be_focused()
    picture(page, "runs-asked")
    keys.press("Escape")
    expect(question).to_be_hidden()
    expect(notice).to_contain_text("Nothing was done")
    expect(page.get_by_role("button", name="Approve")).to_be_focused()
    assert actions(console) == []
    keys.press("Enter")
    expect(question).to_be_focused()
    keys.press("Tab")
    keys.press("Enter")
    expect(notice).to_contain_text("pawl@1 answers now (before: base).")
    assert console.status()["champion"] == "pawl@1"
    expect(page.get_by_role("button", name="Approve")).to_be_hidden()

    page.get_by_role("button", name="Rehearse a rollback").click()
    page.get_by_role("button", name="Yes, rehearse it").click()
    expect(notice).to_contain_text("Nothing was moved: pawl@1 stays champion")
    picture(page, "runs-drill")

    night(console, "run-2", "pawl@1")
    assert console.promote("run-2")["outcome"] == "waiting"
    expect(page.get_by_label(re.compile("pawl@2 waits for approval"))).to_be_visible()  # by itself
    page.get_by_label(re.compile("pawl@2 waits for approval")).check()
    expect(detail.get_by_role("heading", name="run-2")).to_be_visible()
    page.get_by_role("button", name="Reject").click()
    page.get_by_role("button", name="Yes, refuse pawl@2").click()
    expect(notice).to_contain_text("pawl@2 was refused, pawl@1 still answers.")
    page.get_by_role("button", name="Promote").click()
    page.get_by_role("button", name="Yes, promote it").click()
    expect(notice).to_contain_text("pawl@3 waits for approval")
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator(".op-asked")).to_contain_text("Go back from pawl@1 to base?")
    console.post("/admin/runs/run-2/approve").raise_for_status()  # by somebody else, meanwhile
    page.get_by_role("button", name="Yes, go back to base").click()
    expect(notice).to_contain_text("Nothing was done: pawl@3 answers by now.")
    page.get_by_role("button", name="Roll back").click()
    page.get_by_role("button", name="Yes, go back to pawl@1").click()
    expect(notice).to_contain_text("pawl@1 answers now (before: pawl@3).")
    assert console.status()["champion"] == "pawl@1"
    done = [action for action, outcome in actions(console) if outcome.startswith("200")]
    assert done == ["approve", "drill", "reject", "promote", "roll back"]
    over(tab)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_night_with_its_report_curves_and_log(
    console: Console, browser: Browser, width: int, scheme: str
) -> None:
    run_id = f"run-3-{scheme}"
    night(console, run_id, reason=HOSTILE)
    folder = console.server.settings.runs_dir / run_id
    (folder / "train" / "train.log").write_text(HOSTILE)
    page_of = (folder / "report.html").read_text()
    evil = "<script>parent.location='/'</script><form action='/x'><button>Go</button></form>"
    evil += "<img src='https://example.com/p.png'><img src=x onerror=alert(1)>"
    (folder / "report.html").write_text(page_of.replace("<h2>How to go back", f"{evil}<h2>How"))
    tab = opened(
        browser, console, f"?run={run_id}", color_scheme=scheme,
        viewport={"width": width, "height": 844},
    )  # fmt: skip
    page = tab.page
    detail = page.locator("#runs-detail")
    expect(detail.get_by_role("heading", name=run_id)).to_be_visible()
    expect(detail).to_contain_text("<img src=x onerror=alert(1)>")
    expect(detail.get_by_role("row", name=re.compile("train 312.4 2.1"))).to_be_visible()
    report = page.frame_locator(".runs-frame")
    expect(report.get_by_role("heading", name="Passed the gate")).to_be_visible()
    assert page.locator(".runs-frame").get_attribute("sandbox") == ""
    page.get_by_role("button", name="Training curves").click()
    expect(page.get_by_role("img", name=re.compile("loss over steps 1 to 10"))).to_be_visible()
    page.get_by_text("Table: SFT, loss").click()
    expect(page.get_by_role("row", name="10 0.3 0.5")).to_be_visible()
    page.get_by_role("button", name="Log").click()
    expect(page.locator(".runs-log")).to_contain_text("a<b and c>d")
    assert page.locator("#runs-logs :is(img, style, h1), #runs-detail :is(img, style)").count() == 0
    picture(page, f"runs-{width}-{scheme}")
    if PICTURES:  # far from what is in sight no frame is painted
        path = Path(PICTURES) / f"report-{width}-{scheme}.png"
        page.locator(".runs-frame").screenshot(path=path)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for one in page.locator(".op-action:visible").all():
        box = one.bounding_box()
        assert box is not None
        assert box["height"] >= 44
    assert page.url.endswith(f"/runs/?run={run_id}")
    # The frame's own complaints: what its policy and its sandbox kept from being done.
    tab.complaints[:] = [text for text in tab.complaints if not re.search(
        "violates|sandboxed", text)]  # fmt: skip
    over(tab)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_a_suspect_is_looked_at_and_decided(
    console: Console, browser: Browser, width: int, scheme: str
) -> None:
    answer, run_id = flag(console.server, width, completion=HOSTILE), f"run-bad-{scheme}"
    [said] = console.server.store.feedback_history(answer)
    reasons = ["People's prompts got worse.", "3 of 4 broke."]
    rejected_night(console, run_id, reasons, [said.feedback_id, *[None] * 6])
    tab = opened(
        browser, console, f"?run={run_id}", color_scheme=scheme,
        viewport={"width": width, "height": 844},
    )  # fmt: skip
    page = tab.page
    detail = page.locator("#runs-detail")
    expect(detail.get_by_text("3 of 4 broke.")).to_have_count(1)
    expect(detail.get_by_role("listitem").filter(has_text="At 7.")).to_be_hidden()
    detail.get_by_text("2 more").click()
    expect(detail.get_by_role("listitem").filter(has_text="At 7.")).to_be_visible()
    picture(page, f"runs-suspects-{width}-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    detail.get_by_role("link", name="Look at suspect 1 and decide").click()
    item = page.locator(".review-item")
    expect(item).to_have_attribute("data-item", f"{answer}:0", timeout=240_000)
    expect(page.get_by_role("status").filter(has_text="waiting")).to_contain_text("by a link")
    picture(page, f"review-by-link-{width}-{scheme}")
    page.keyboard.press("r")
    page.get_by_role("button", name="Nobody meant it").click()
    said_of_it = page.get_by_role("status").filter(has_text="waiting")
    expect(said_of_it).to_contain_text("Rejected, nobody meant it: “Where is the")
    [done] = console.server.store.reviews.current(completion_id=answer)
    assert (done.reviewer, done.reason) == ("olga", "not_meant")
    page.reload()  # the address names it still
    expect(page.get_by_role("status").filter(has_text="waiting")).to_contain_text(
        "does not wait for you", timeout=240_000
    )
    expect(item).to_contain_text("olga rejected the flag: Nobody meant it")
    page.keyboard.press("s")
    expect(page.get_by_role("status").filter(has_text="waiting")).to_contain_text("Left as it is")
    assert console.server.store.reviews.current(completion_id=answer) == [done]
    # A page that is left in the middle of a request complains about it.
    tab.complaints[:] = [text for text in tab.complaints if not LEAVING.search(text)]
    over(tab)


def test_a_night_as_it_goes(console: Console, browser: Browser) -> None:
    run_id, settings = "run-4", console.server.settings
    console.post("/admin/runs", {"run_id": run_id, "status": "plan"}).raise_for_status()
    progress = RunProgress(
        step="train", began_at=utc_now(), stage="sft", fraction=0.25, seconds_left=1200,
        at=utc_now(), pid=os.getpid(),
    )  # fmt: skip
    path = settings.runs_dir / run_id / PROGRESS
    tab = opened(browser, console)
    detail = tab.page.locator("#runs-detail")
    expect(detail).to_contain_text("interrupted after 'plan'")
    with hold_lock(settings.state_dir / "nightly.lock", "", ""):
        write_json(path, progress.model_dump())
        expect(detail).to_contain_text("running: train (SFT, 25 %)")
        expect(detail).to_contain_text("about 20 min left")
        picture(tab.page, "runs-running")
        write_json(path, {**progress.model_dump(), "fraction": 0.5})
        expect(detail.get_by_role("progressbar", name="train")).to_have_attribute("value", "0.5")
    over(tab)
