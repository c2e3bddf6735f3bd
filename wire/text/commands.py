"""Floor 0: the text dialect's commands as one table, which drives parsing, help, completion and the README."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from wire.errors import Refused
from wire.file_names import is_file_id
from wire.frames import (
    Bye,
    Cancel,
    Channels,
    Files,
    GetFile,
    Help,
    History,
    Join,
    Leave,
    Msg,
    Register,
    Request,
    Say,
    SendFile,
    Status,
    Topic,
    Who,
    Whois,
)
from wire.names import check_name, shorten

from .addressed import topic_text


@dataclass(frozen=True, slots=True)
class Command:
    """One command: how it is written, what it does, and what its words mean as a frame.

    `parse` takes what follows the command's name, stripped; it raises ValueError if that does not fit `usage`.
    """

    name: str
    usage: str
    summary: str
    parse: Callable[[str], Request]
    aliases: tuple[str, ...] = ()
    detail: str = ""


def _words(rest: str, least: int, most: int) -> list[str]:
    words = rest.split()
    if not least <= len(words) <= most:
        raise ValueError
    return words + [""] * (most - len(words))


def _channel(word: str) -> str:
    return check_name(word, "channel name") if word else ""


def _user(word: str) -> str:
    return check_name(word, "user name")


def _msg(rest: str) -> Request:
    user, _, text = rest.partition(" ")
    if not text.strip():
        raise ValueError
    return Msg(_user(user), text.strip())


def _send(rest: str) -> Request:
    option, _, after = rest.partition(" ")
    direct = option == "--direct" and len(after.split()) > 1
    to, _, path = (after.strip() if direct else rest).partition(" ")
    if not path.strip():
        raise ValueError
    if direct and to.startswith("#"):
        raise Refused("bad-command", "A file goes directly to a user, not to a channel.")
    name = check_name(to, "channel name" if to.startswith("#") else "user name")
    return SendFile(to=f"#{name}" if to.startswith("#") else name, path=path.strip(), direct=direct)


def _get(rest: str) -> Request:
    file, _, folder = rest.partition(" ")
    return GetFile(file=_file(file), folder=folder.strip())


def _file(word: str) -> str:
    if not word:
        raise ValueError
    if not is_file_id(word):
        raise Refused("no-such-file", f"{shorten(word)} is no file's id: /files lists them.")
    return word


def _topic(rest: str) -> Request:
    """Leave words that may begin with a channel's name in the text: `topic_for` decides when the channels are known."""
    first, _, text = rest.partition(" ")
    if first.startswith("#"):
        return Topic(_channel(first), topic_text(text))
    return Topic("", rest or None)


def _register(rest: str) -> Request:
    if not rest:
        raise ValueError
    return Register(rest)


def _history(rest: str) -> Request:
    words = _words(rest, 0, 3)
    target = words.pop(0) if words[0] and not words[0].isdigit() else ""
    numbers = [int(word) for word in words if word]
    if len(numbers) > 2 or any(number < 1 for number in numbers):
        raise ValueError
    limit = numbers[0] if numbers else 20
    before = numbers[1] if len(numbers) > 1 else None
    if target.startswith("@"):
        return History(user=_user(target), limit=limit, before=before)
    return History(channel=_channel(target), limit=limit, before=before)


COMMANDS: tuple[Command, ...] = (
    Command("/join", "/join <channel>", "join a channel (it is made if it is new); it becomes your current one",
            lambda rest: Join(_channel(_words(rest, 1, 1)[0]))),
    Command("/leave", "/leave [channel]", "leave the current channel, or the named one, and get nothing more from it",
            lambda rest: Leave(_channel(_words(rest, 0, 1)[0]))),
    Command("/msg", "/msg <user> <text>", "a private message; kept for them if they are away", _msg),
    Command("/who", "/who [channel]", "who is in a channel, or, without one, who is online",
            lambda rest: Who(_channel(_words(rest, 0, 1)[0]))),
    Command("/channels", "/channels", "every channel, with its members and its topic",
            lambda rest: Channels(*_words(rest, 0, 0))),
    Command("/whois", "/whois <user>", "whether a user is online, how, and since when",
            lambda rest: Whois(_user(_words(rest, 1, 1)[0]))),
    Command("/history", "/history [channel or @user] [n] [before]",
            "the last n entries (20), or the n before a number", _history,
            detail="/history lab 50 shows the last 50 of lab; /history lab 50 812 the 50 before number 812; "
                   "/history @bob your talk with bob."),
    Command("/topic", "/topic [channel] [text]", "show a channel's topic, or set it (- clears it)", _topic,
            detail="/topic Tea time sets the current channel's; /topic lab Tea time that of lab, if you are in lab; "
                   "/topic lab shows it. A word with a # is always a channel's name."),
    Command("/send", "/send <user or #channel> <path>", "send a file, or a folder; kept for them if they are away",
            _send,
            detail="/send bob photo.jpg sends it to bob, /send #lab results to all who are in lab. It goes on after a "
                   "lost line; after a restart, send it once more, and it goes on where it was. /send --direct bob "
                   "photo.jpg goes straight to bob, and by the server only if it must. In client.py only."),
    Command("/get", "/get <id> [folder]", "fetch a file that was offered to you", _get,
            detail="It goes to your download folder, or to the one named, and is only there when all of it is right. "
                   "In client.py only."),
    Command("/files", "/files", "the files that are offered to you, and by you",
            lambda rest: Files(*_words(rest, 0, 0))),
    Command("/cancel", "/cancel <id>", "stop fetching a file, or take back one that you offer",
            lambda rest: Cancel(file=_file(_words(rest, 1, 1)[0]))),
    Command("/register", "/register <password>", "bind your name to a password; from then on it takes that password",
            _register),
    Command("/status", "/status", "how the server is, and how it gets on with the broker that it mirrors to",
            lambda rest: Status(*_words(rest, 0, 0))),
    Command("/help", "/help [command]", "these lines, or more about one command",
            lambda rest: Help(_words(rest, 0, 1)[0])),
    Command("exit", "exit", "leave; you stay a member, and what you miss waits for you",
            lambda rest: Bye(), aliases=("/quit", "/exit")),
)  # fmt: skip

PLAIN: tuple[tuple[str, str], ...] = (
    ("<text>", "say it in your current channel"),
    ("<channel>: <text>", "say it in that channel"),
    ("//<text>", "say something that begins with a slash"),
)

_by_name: dict[str, Command] = {name: command for command in COMMANDS for name in (command.name, *command.aliases)}


def find(name: str) -> Command:
    """The command of that name or alias, with or without its slash. Raises Refused with the nearest known one."""
    key = name.lower()
    command = _by_name.get(key) or _by_name.get("/" + key)
    if command is not None:
        return command
    near = difflib.get_close_matches(key if key.startswith("/") else "/" + key, _by_name, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else "/help lists them."
    raise Refused("unknown-command", f"There is no command {shorten(name)}; {hint}")


def parse(line: str) -> Request | None:
    """The frame that a line of the text dialect asks for; None if it is no command. Raises Refused."""
    if line.startswith("//"):
        return Say(line[1:])
    name, _, rest = line.partition(" ")
    if not name.startswith("/") and not (name.lower() == "exit" and not rest.strip()):
        return None
    command = find(name)
    try:
        return command.parse(rest.strip())
    except ValueError:
        raise Refused("bad-command", f"It is written {command.usage} - {command.summary}.") from None


def help_lines(name: str = "") -> list[str]:
    """What `/help` says, about everything or about one command. Raises Refused for an unknown one."""
    if name:
        command = find(name)
        also = f" Also: {', '.join(command.aliases)}." if command.aliases else ""
        return [f"{command.usage} - {command.summary}.{also}", *([command.detail] if command.detail else [])]
    rows = [*((command.usage, command.summary) for command in COMMANDS), *PLAIN]
    width = max(len(usage) for usage, _ in rows)
    return [f"{usage:<{width}}  {summary}" for usage, summary in rows]
