"""Gradio's blocks as the pages need them: in several languages, cheap while nobody uses them.

This module imports Gradio at its top, which takes seconds: import it only to build the page.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakValueDictionary

import gradio as gr
import gradio.blocks
import gradio.routes
import gradio.state_holder

from serve.pages.language import preferred
from serve.pages.texts import ENGLISH, LANGUAGES, language, speak, unmarked

EVENT_SECONDS = 0.02  # the longest that something pressed waits for its handler
PROGRESS_SECONDS = 1.5  # between looks for the progress of handlers, which report none
LEFT_SECONDS = 600.0  # after its last event, a page whose connection is gone is forgotten
MOST_FORGOTTEN = 10_000  # pages that are known to have been forgotten

# Gradio keeps the blocks under construction in globals of the process.
_UNDER_CONSTRUCTION = threading.Lock()


class PageBlocks(gr.Blocks):
    """Blocks with texts of several languages, of which a busy browser draws every frame of a
    handler that yields several, and the last only once.

    Two threads of one process build them one after the other.

    Gradio sends a frame as its difference from the one before, and the browser changes that one in
    place, perhaps before it drew it: what a skip follows would be lost. And when a handler ends,
    Gradio sends its last frame once more, over what another event drew meanwhile.
    """

    def queue(self, *args: Any, **kwargs: Any) -> PageBlocks:
        """Gradio's, which looks for an event each millisecond: six pages took 12 % of a core."""
        super().queue(*args, **kwargs)
        self._queue.sleep_when_free = EVENT_SECONDS
        self._queue.progress_update_sleep_when_free = PROGRESS_SECONDS
        return self

    def __enter__(self) -> PageBlocks:
        _UNDER_CONSTRUCTION.acquire()
        super().__enter__()
        return self

    def __exit__(self, *args: Any) -> None:
        try:
            super().__exit__(*args)
        finally:
            _UNDER_CONSTRUCTION.release()

    def handle_streaming_diffs(
        self, block_fn: Any, data: list[Any], session_hash: str | None, run: str | None,
        final: bool, simple_format: bool = False,
    ) -> list[Any]:  # fmt: skip
        """What is sent of a frame: for each output its value or, after the first frame, edits."""
        before = list(self.pending_diff_streams[session_hash].get(run, ()))
        now = list(data)
        sent = super().handle_streaming_diffs(
            block_fn, data, session_hash, run, final, simple_format
        )
        if not before or run is None:
            return sent
        if final:
            return [gr.skip() for _ in sent]
        for at, (earlier, value) in enumerate(zip(before, now, strict=True)):
            if isinstance(value, dict) and isinstance(earlier, dict) and earlier.keys() - value:
                sent[at] = [["replace", [], value]]
        return sent

    @property
    def config(self) -> Any:
        """What a browser is sent of the page, in the language of its request."""
        return self._configs[language()]

    @config.setter
    def config(self, laid_out: Any) -> None:
        self._configs = {one: unmarked(laid_out, one) for one in LANGUAGES}


class _App(gradio.routes.App):
    """Blocks make an application of themselves at four points of their construction, 0.1 s each.
    ``mount_gradio_app`` makes another, which is the one that is served."""

    @staticmethod
    def create_app(blocks: gr.Blocks, *args: Any, **kwargs: Any) -> Any:
        if isinstance(blocks, PageBlocks):
            return None
        return gradio.routes.App.create_app(blocks, *args, **kwargs)


gradio.blocks.App = _App


# A page's components as events changed them, by class and arguments: most sessions change the same
# ones alike, and each has its own 1 to 3 kB.
_CHANGED: WeakValueDictionary[tuple[type, str], Any] = WeakValueDictionary()


class _Session(gradio.state_holder.SessionState):
    """Of one page in one browser, without what Gradio keeps beside the state for deep links, which
    our pages have none of: the configuration of each component with what it shows, 18 to 117 kB a
    page that was opened. A component that events changed is shared with the sessions where it was
    changed alike."""

    def __setitem__(self, key: int, value: Any) -> None:
        if isinstance(value, gr.blocks.Block):
            of = type(value), repr(value.constructor_args)
            value = _CHANGED.setdefault(of, value)
        super().__setitem__(key, value)

    @property
    def config_values(self) -> dict[int, Any]:
        return {}

    @config_values.setter
    def config_values(self, values: dict[int, Any]) -> None:
        """Nothing is kept."""

    def _update_config(self, key: int) -> None:
        """Nothing is kept."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Nothing is kept."""


class Sessions(gradio.state_holder.StateHolder):
    """The sessions of a page's browsers.

    Gradio keeps one, with the conversation that it shows, until 10,000 others came. This forgets
    those of pages that are gone; one that comes back later is to be loaded anew (``forgot``).
    """

    def __init__(self) -> None:
        super().__init__()
        self._forgotten: OrderedDict[str, None] = OrderedDict()

    def forgot(self, session_id: str) -> bool:
        """Whether this session was, and is not any more."""
        return session_id in self._forgotten

    def delete_all_expired_state(self) -> None:
        """Gradio calls this once a second."""
        until = datetime.now() - timedelta(seconds=LEFT_SECONDS)
        with self.lock:
            for session_id, session in list(self.session_data.items()):  # used last: at the end
                if self.time_last_used.get(session_id, until) >= until:
                    break
                if session.is_closed:
                    del self.session_data[session_id], self.time_last_used[session_id]
                    self._forgotten[session_id] = None
                    queue = self.blocks._queue  # with what a page that left was not told any more
                    queue.pending_messages_per_session.pop(session_id, None)
                    queue.pending_event_ids_session.pop(session_id, None)
            while len(self._forgotten) > MOST_FORGOTTEN:
                self._forgotten.popitem(last=False)


gradio.state_holder.SessionState = _Session
gradio.routes.StateHolder = Sessions


class TranslatedBlocks(PageBlocks):
    """Blocks whose events are answered in the language of their request."""

    async def process_api(
        self, block_fn: Any, inputs: list[Any], state: Any = None, request: Any = None,
        *args: Any, **kwargs: Any,
    ) -> Any:  # fmt: skip
        """One step of an event's handler."""
        one = request[0] if isinstance(request, list) else request
        speak(preferred(one.request.scope) if one is not None else ENGLISH)
        return await super().process_api(block_fn, inputs, state, request, *args, **kwargs)
