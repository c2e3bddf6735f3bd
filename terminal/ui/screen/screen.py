"""Floor 4: the client on a terminal: an input line at the bottom, and messages that scroll by above it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import signal
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain

from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.formatted_text import FormattedText, StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout.processors import ConditionalProcessor, Processor, Transformation, TransformationInput
from prompt_toolkit.layout.utils import explode_text_fragments
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.shortcuts import CompleteStyle
from prompt_toolkit.styles import Style

from wire.names import printable
from wire.text import COMMANDS, may_hold_secret

from ...files import FileOptions, OpenConnection
from ...links import Deliver, Link
from ...session import ClientSession
from ...state import DisplayItem, Note, State
from ..paint import PALETTE, paint
from .complete import WordCompleter
from .wrap import rows_of

_GOODBYE = 2.0  # seconds for the server's answer to `bye`
_SECRET_COMMANDS = {name for command in COMMANDS if command.secret for name in (command.name, *command.aliases)}
_STYLE = Style.from_dict({colour: style for colour, (style, _) in PALETTE.items() if colour} | {"prompt": "bold"})


class _HiddenInput(Processor):
    """Display nothing of a typed password, not even its length."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        return Transformation([], source_to_display=lambda position: 0, display_to_source=lambda position: 0)


class _MaskedArgument(Processor):
    """Display stars for the argument of a command that takes a password."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        text = transformation_input.document.text
        start = len(text) - len(text.lstrip())
        end = start + len(text.lstrip().partition(" ")[0])
        if text[start:end].lower() not in _SECRET_COMMANDS:
            return Transformation(transformation_input.fragments)
        fragments = explode_text_fragments(transformation_input.fragments)
        shown: StyleAndTextTuples = [
            (style, "*" if at > end and not character.isspace() else character)
            for at, (style, character, *_) in enumerate(fragments)
        ]
        return Transformation(shown)


class Screen:
    """The owner of the terminal. One asyncio loop does everything; Enter does not end the prompt, only leaving does."""

    def __init__(
        self,
        state: State,
        make_link: Callable[[Deliver], Link],
        open_connection: OpenConnection,
        file_options: FileOptions,
    ) -> None:
        self._state = state
        self._session = ClientSession(
            state, make_link, open_connection, file_options, self._show, self._changed, ask=self._ask_about_file
        )
        self._questions: deque[tuple[str, concurrent.futures.Future[bool]]] = deque()  # about files
        self._leaving = False
        self._warned = False  # the user knows that leaving now loses something
        self._asked: object = None  # the question that the input line answers
        self._draft = Document()  # the input line before that question
        self._prompt_session = self._make_session()
        self._prompt_session.default_buffer.accept_handler = self._accept

    def _make_session(self) -> PromptSession[str]:
        asking = Condition(lambda: self._state.credentials.question == "password")
        return PromptSession(
            message=self._prompt,
            rprompt=self._status,
            completer=WordCompleter(self._state.rooms),
            complete_style=CompleteStyle.READLINE_LIKE,
            complete_while_typing=False,
            key_bindings=self._make_keys(),
            input_processors=[_MaskedArgument(), ConditionalProcessor(_HiddenInput(), asking)],
            style=_STYLE,
            erase_when_done=True,
            enable_suspend=True,
        )

    def _make_keys(self) -> KeyBindings:
        keys = KeyBindings()
        typing = has_focus(DEFAULT_BUFFER)
        empty = Condition(lambda: not self._prompt_session.default_buffer.text)

        @keys.add("c-c", filter=typing)
        @keys.add("c-d", filter=typing & empty)
        @keys.add("<sigint>")
        def _(event: KeyPressEvent) -> None:
            self._leave()

        return keys

    async def run(self) -> int:
        """Return the exit code: 0 after `exit`, 1 if the server has ended the session or the terminal is gone."""
        loop = asyncio.get_running_loop()
        for name in ("SIGTERM", "SIGHUP"):
            with contextlib.suppress(AttributeError, NotImplementedError):  # Windows
                loop.add_signal_handler(getattr(signal, name), self._gone)
        prompt = asyncio.create_task(self._prompt_session.prompt_async())
        prompt.add_done_callback(lambda _: self._gone())
        try:
            await self._chat()
            await self._end(prompt)
            return self._last_words()
        except (OSError, EOFError):  # the terminal is gone
            return 1
        finally:
            await asyncio.gather(self._end(prompt), return_exceptions=True)
            await self._session.stop()

    async def _end(self, prompt: asyncio.Task[str]) -> None:
        """Remove the input line. Raises the error that has ended it before, if any."""
        app = self._prompt_session.app
        if app.is_running and not app.is_done:
            app.exit(result="")
        await prompt

    async def _chat(self) -> None:
        self._session.turn()
        await self._session.until(lambda: self._leaving or self._state.credentials.question is None)
        if not self._leaving:
            self._session.start()
            await self._session.until(lambda: self._leaving or self._state.ended is not None)
            while self._questions:
                self._questions.popleft()[1].cancel()
            await self._session.part(_GOODBYE)

    def _last_words(self) -> int:
        ended = self._state.ended
        refused = ended is not None and not ended.clean
        notes = [f"Not sent: {text}" for text in self._state.unsent]
        if ended is not None and refused:
            notes.append(ended.reason)
        if notes:
            self._show([Note(note) for note in notes])
        return 1 if refused else 0

    # Input

    def _accept(self, buffer: Buffer) -> bool:
        """Handle Enter. Return False, so that the input line is empty afterwards."""
        text = buffer.text
        secret = self._state.credentials.question is not None or may_hold_secret(text)
        if secret:
            buffer.reset()  # an empty line is not kept in the history
        if self._state.credentials.question is not None:
            self._state.answer(text)
        elif self._questions:
            self._questions.popleft()[1].set_result(not text.strip().lower().startswith("n"))
        else:
            self._state.typed(text)
        if self._state.leaving:
            self._leave()
        # Later, when the buffer has dropped this line: a question may put another one into it.
        asyncio.get_running_loop().call_soon(self._session.turn)
        return False

    def _leave(self) -> None:
        """Leave; if that loses unsent messages or stops a transfer, warn first and leave the second time."""
        unsent = 0 if self._state.online else len(self._state.unsent)
        if (not unsent and self._session.idle) or self._warned:
            self._gone()
            return
        self._warned, self._state.leaving = True, False
        if unsent:
            messages, them = ("1 message is", "it") if unsent == 1 else (f"{unsent} messages are", "them")
            self._show([Note(f"{messages} not sent yet. Exit again to discard {them}.")])
        else:
            self._show([Note("A file transfer is still running. Exit again to stop it.")])

    def _gone(self) -> None:
        self._leaving = True
        self._session.turn()

    # Output

    def _show(self, items: Sequence[DisplayItem]) -> None:
        """Print above the input line. Unlike `run_in_terminal`, this keeps the keys for the input line meanwhile."""
        app = self._prompt_session.app
        if app.is_running:
            app.renderer.erase()
        pieces: StyleAndTextTuples = []
        columns = app.output.get_size().columns
        for item in items:
            for row in chain.from_iterable(rows_of(line, columns) for line in paint(item, columns)):
                pieces += [(f"class:{colour}" if colour else "", text) for colour, text in row]
                pieces.append(("", "\n"))
        print_formatted_text(app.output, FormattedText(pieces), _STYLE, color_depth=app.color_depth)
        app.invalidate()

    def _changed(self) -> None:
        """Use the input line for an open question, and restore the draft after the answer."""
        question: object = self._state.credentials.question or (self._questions[0] if self._questions else None)
        buffer = self._prompt_session.default_buffer
        if question != self._asked:
            if self._asked is None:
                self._draft = buffer.document
            buffer.document = self._draft if question is None else Document()
            self._asked = question
        self._prompt_session.app.invalidate()

    def _ask_about_file(self, question: str) -> concurrent.futures.Future[bool]:
        """Ask in the input line, as soon as earlier questions are answered."""
        answer: concurrent.futures.Future[bool] = concurrent.futures.Future()
        self._questions.append((question, answer))
        self._changed()
        return answer

    def _prompt(self) -> StyleAndTextTuples:
        """Return a line for each running transfer, and the prompt."""
        lines = self._session.transfers.lines() if self._state.credentials.question is None else []
        above = [("class:note", f"{printable(line)}\n") for line in lines]
        return [*above, ("class:prompt", printable(self._prompt_text()))]

    def _prompt_text(self) -> str:
        match self._state.credentials.question:
            case "name":
                return "Your name: "
            case "password":
                return f"Password for {self._state.credentials.name}: "
            case None if self._questions:
                return f"{self._questions[0][0]} [Y/n] "
            case None if self._state.rooms.partner:
                return f"[@{self._state.rooms.partner}] "
            case None:
                return f"[{self._state.rooms.current}] " if self._state.rooms.current else "> "

    def _status(self) -> StyleAndTextTuples:
        """Return the text at the right: nothing while online, else the number of unsent messages."""
        if self._state.online or self._state.credentials.question is not None:
            return []
        unsent = len(self._state.unsent)
        return [("class:unsent", f" reconnecting, {unsent} unsent " if unsent else " reconnecting ")]
